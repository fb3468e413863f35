// Files that appear complete or not at all, and RAII for descriptors.
#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <string_view>

namespace titan {

// An owned POSIX file descriptor; -1 when empty. Move-only.
class FileDescriptor {
 public:
  FileDescriptor() = default;
  explicit FileDescriptor(int descriptor) : descriptor_(descriptor) {}
  FileDescriptor(FileDescriptor&& other) noexcept : descriptor_(other.release()) {}
  FileDescriptor& operator=(FileDescriptor&& other) noexcept;
  FileDescriptor(const FileDescriptor&) = delete;
  FileDescriptor& operator=(const FileDescriptor&) = delete;
  ~FileDescriptor();

  int get() const { return descriptor_; }
  int release() {
    int descriptor = descriptor_;
    descriptor_ = -1;
    return descriptor;
  }
  // Closes now. Throws Error when the kernel reports a write error only at close.
  void close(const std::filesystem::path& path_for_message);

 private:
  int descriptor_ = -1;
};

// Opens for reading. Throws InputError that names the path and the reason.
FileDescriptor open_for_reading(const std::filesystem::path& path);

// Creates or truncates for writing. Throws Error that names the path and the reason.
FileDescriptor create_for_writing(const std::filesystem::path& path);

// Writes all bytes, or throws Error (no space left, read-only file system, ...).
void write_all(int descriptor, std::string_view bytes, const std::filesystem::path& path);

// fsync of a file or directory; throws Error when the data may be lost.
void sync_descriptor(int descriptor, const std::filesystem::path& path);
void sync_directory(const std::filesystem::path& directory);

// Writes beside the target, fsyncs, renames over it, fsyncs the directory: readers see the old
// content or the new, never a part. Throws Error and leaves the old content in place on failure.
void write_file_atomically(const std::filesystem::path& path, std::string_view content);

// The whole file. Throws InputError that names the path and the reason.
std::string read_file(const std::filesystem::path& path);

}  // namespace titan
