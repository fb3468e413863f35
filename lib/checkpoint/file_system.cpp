#include "lib/checkpoint/file_system.hpp"

#include <system_error>

#include "lib/base/error.hpp"

namespace titan {
namespace fs = std::filesystem;

FileSystem& FileSystem::posix() {
  static FileSystem files;
  return files;
}

void FileSystem::create_directory(const fs::path& directory) {
  std::error_code error;
  fs::create_directory(directory, error);
  if (error) throw Error(concat("cannot create ", directory.string(), ": ", error.message()));
}

FileDescriptor FileSystem::create_file(const fs::path& path) { return create_for_writing(path); }

void FileSystem::write(int descriptor, std::string_view bytes, const fs::path& path) {
  write_all(descriptor, bytes, path);
}

void FileSystem::sync_file(int descriptor, const fs::path& path) {
  sync_descriptor(descriptor, path);
}

void FileSystem::close_file(FileDescriptor file, const fs::path& path) { file.close(path); }

void FileSystem::rename(const fs::path& from, const fs::path& to) {
  std::error_code error;
  fs::rename(from, to, error);
  if (error) {
    throw Error(
        concat("cannot rename ", from.string(), " to ", to.string(), ": ", error.message()));
  }
}

void FileSystem::sync_directory(const fs::path& directory) { titan::sync_directory(directory); }

void FileSystem::remove_all(const fs::path& path) {
  std::error_code error;
  fs::remove_all(path, error);
  if (error) throw Error(concat("cannot delete ", path.string(), ": ", error.message()));
}

void create_directories(FileSystem& files, const fs::path& directory) {
  std::error_code error;
  if (directory.empty() || fs::is_directory(directory, error)) return;
  create_directories(files, directory.parent_path());
  files.create_directory(directory);
  files.sync_directory(directory.has_parent_path() ? directory.parent_path() : ".");
}

void write_file(FileSystem& files, const fs::path& path, std::string_view content) {
  FileDescriptor file = files.create_file(path);
  files.write(file.get(), content, path);
  files.sync_file(file.get(), path);
  files.close_file(std::move(file), path);
}

void replace_file(FileSystem& files, const fs::path& path, std::string_view content) {
  fs::path temporary = path;
  temporary += ".tmp";
  write_file(files, temporary, content);
  files.rename(temporary, path);
  files.sync_directory(path.parent_path());
}

}  // namespace titan
