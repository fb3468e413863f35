// An append-only file of records (a JSON line, a TensorBoard event). A record is there in full or
// not at all, also when the disk fills up in the middle of it, and is with the kernel when append()
// returns. Failures never throw, since a run must not end for its metrics: the first one is logged
// as a warning, and each later record is tried again. One thread.
#pragma once

#include <filesystem>
#include <string_view>

#include "lib/base/file.hpp"

namespace titan {

class RecordFile {
 public:
  // Creates the file and its folders where missing; content that is there stays.
  explicit RecordFile(std::filesystem::path path);

  void append(std::string_view record);

 private:
  void open();
  void write(std::string_view record);

  std::filesystem::path path_;
  FileDescriptor file_;
  bool failed_ = false;  // the warning was given
};

}  // namespace titan
