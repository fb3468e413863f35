#include "lib/base/file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "lib/base/error.hpp"

namespace titan {
namespace {

std::string reason() { return std::strerror(errno); }

}  // namespace

FileDescriptor& FileDescriptor::operator=(FileDescriptor&& other) noexcept {
  if (this != &other) {
    if (descriptor_ >= 0) ::close(descriptor_);
    descriptor_ = other.release();
  }
  return *this;
}

FileDescriptor::~FileDescriptor() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void FileDescriptor::close(const std::filesystem::path& path) {
  int descriptor = release();
  if (descriptor >= 0 && ::close(descriptor) != 0) {
    throw Error(concat("cannot finish writing ", path.string(), ": ", reason()));
  }
}

FileDescriptor open_for_reading(const std::filesystem::path& path) {
  FileDescriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.get() < 0) throw InputError(concat("cannot open ", path.string(), ": ", reason()));
  return file;
}

FileDescriptor create_for_writing(const std::filesystem::path& path) {
  FileDescriptor file(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  if (file.get() < 0) throw Error(concat("cannot create ", path.string(), ": ", reason()));
  return file;
}

void write_all(int descriptor, std::string_view bytes, const std::filesystem::path& path) {
  while (!bytes.empty()) {
    ssize_t written = ::write(descriptor, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) throw Error(concat("cannot write ", path.string(), ": ", reason()));
    bytes.remove_prefix(static_cast<size_t>(written));
  }
}

void sync_descriptor(int descriptor, const std::filesystem::path& path) {
  if (::fsync(descriptor) != 0) {
    throw Error(concat("cannot flush ", path.string(), " to disk: ", reason()));
  }
}

void sync_directory(const std::filesystem::path& directory) {
  FileDescriptor file(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (file.get() < 0) throw Error(concat("cannot open ", directory.string(), ": ", reason()));
  sync_descriptor(file.get(), directory);
}

void write_file_atomically(const std::filesystem::path& path, std::string_view content) {
  std::filesystem::path temporary = path;
  temporary += concat(".", ::getpid(), ".tmp");
  try {
    FileDescriptor file = create_for_writing(temporary);
    write_all(file.get(), content, temporary);
    sync_descriptor(file.get(), temporary);
    file.close(temporary);
    if (::rename(temporary.c_str(), path.c_str()) != 0) {
      throw Error(
          concat("cannot rename ", temporary.string(), " to ", path.string(), ": ", reason()));
    }
  } catch (...) {
    ::unlink(temporary.c_str());
    throw;
  }
  sync_directory(path.has_parent_path() ? path.parent_path() : ".");
}

std::string read_file(const std::filesystem::path& path) {
  FileDescriptor file = open_for_reading(path);
  std::string content;
  char buffer[1 << 16];
  for (;;) {
    ssize_t count = ::read(file.get(), buffer, sizeof buffer);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) throw InputError(concat("cannot read ", path.string(), ": ", reason()));
    if (count == 0) return content;
    content.append(buffer, static_cast<size_t>(count));
  }
}

}  // namespace titan
