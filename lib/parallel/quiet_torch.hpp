// For blocks whose failures come out as our own messages: torch would log them as well, with the
// frames of its stack.
#pragma once

#include <c10/util/Logging.h>

#include <utility>

namespace titan {

// While an object lives, torch logs nothing, in no thread.
class QuietTorch {
 public:
  QuietTorch() : level_(std::exchange(FLAGS_caffe2_log_level, kFatal)) {}
  ~QuietTorch() { FLAGS_caffe2_log_level = level_; }
  QuietTorch(const QuietTorch&) = delete;
  QuietTorch& operator=(const QuietTorch&) = delete;

 private:
  static constexpr int kFatal = 3;
  int level_;
};

}  // namespace titan
