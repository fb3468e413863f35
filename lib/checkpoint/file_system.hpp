// The operations on files that saving a checkpoint consists of, as one small interface: tests
// replace it to fail or to stop at any of them. Everything throws Error that names the path and the
// reason. Safe to call from several threads.
#pragma once

#include <filesystem>
#include <span>
#include <string_view>

#include "lib/base/file.hpp"

namespace titan {

class FileSystem {
 public:
  virtual ~FileSystem() = default;

  // The real one.
  static FileSystem& posix();

  // No error when it is there already.
  virtual void create_directory(const std::filesystem::path& directory);
  virtual FileDescriptor create_file(const std::filesystem::path& path);
  virtual void write(int descriptor, std::string_view bytes, const std::filesystem::path& path);
  virtual void sync_file(int descriptor, const std::filesystem::path& path);
  virtual void close_file(FileDescriptor file, const std::filesystem::path& path);
  virtual void rename(const std::filesystem::path& from, const std::filesystem::path& to);
  virtual void sync_directory(const std::filesystem::path& directory);
  // With all that is in it; no error when there is no such path.
  virtual void remove_all(const std::filesystem::path& path);
};

// With its parents. The new entries are durable.
void create_directories(FileSystem& files, const std::filesystem::path& directory);

// Writes, fsyncs and closes a new file. Its directory entry is not yet safe: sync_directory
// follows.
void write_file(FileSystem& files, const std::filesystem::path& path, std::string_view content);

// As write_file, but through "<path>.tmp" and a rename; then fsyncs the directory.
void replace_file(FileSystem& files, const std::filesystem::path& path, std::string_view content);

}  // namespace titan
