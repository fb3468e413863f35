// Bytes in use over a step: alloc and free as the modules do, mark at the end of each moment.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

namespace titan {

struct MemoryMoment {
  std::string name;   // "backward of layers.3"
  int64_t bytes = 0;  // the largest amount in use during it
};

class MemoryTimeline {
 public:
  explicit MemoryTimeline(int64_t resident) : in_use_(resident), highest_(resident) {}

  void alloc(int64_t bytes) {
    in_use_ += bytes;
    highest_ = std::max(highest_, in_use_);
  }
  void free(int64_t bytes) { in_use_ -= bytes; }
  void pulse(int64_t bytes) {
    alloc(bytes);
    free(bytes);
  }
  void mark(std::string name) {
    moments_.push_back({std::move(name), highest_});
    highest_ = in_use_;
  }
  int64_t in_use() const { return in_use_; }
  const std::vector<MemoryMoment>& moments() const { return moments_; }

 private:
  int64_t in_use_, highest_;
  std::vector<MemoryMoment> moments_;
};

}  // namespace titan
