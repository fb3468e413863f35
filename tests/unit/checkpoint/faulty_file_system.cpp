#include "tests/unit/checkpoint/faulty_file_system.hpp"

#include <algorithm>

#include "lib/base/error.hpp"

namespace titan::test {
namespace fs = std::filesystem;
namespace {

// `path`, if it is `from` or lies below it, as it is called after renaming `from` to `to`.
fs::path renamed(const fs::path& path, const fs::path& from, const fs::path& to) {
  auto [end, rest] = std::mismatch(from.begin(), from.end(), path.begin(), path.end());
  if (end != from.end()) return path;
  fs::path result = to;
  for (; rest != path.end(); ++rest) result /= *rest;
  return result;
}

}  // namespace

bool FaultyFileSystem::strike() {
  ++count_;
  if (fault_ == Fault::kDeath && count_ > at_) fail();
  return count_ == at_;
}

void FaultyFileSystem::fail() const { throw Error(concat("injected fault at operation ", at_)); }

void FaultyFileSystem::create_directory(const fs::path& directory) {
  std::lock_guard lock(unsynced_->mutex);
  if (strike()) fail();
  if (fs::exists(directory)) return;
  FileSystem::create_directory(directory);
  unsynced_->entries.push_back({"", directory});
}

FileDescriptor FaultyFileSystem::create_file(const fs::path& path) {
  std::lock_guard lock(unsynced_->mutex);
  if (strike()) fail();
  if (!fs::exists(path)) unsynced_->entries.push_back({"", path});
  unsynced_->files.insert(path);
  return FileSystem::create_file(path);
}

void FaultyFileSystem::write(int descriptor, std::string_view bytes, const fs::path& path) {
  std::lock_guard lock(unsynced_->mutex);
  bool half = strike();
  unsynced_->files.insert(path);
  FileSystem::write(descriptor, half ? bytes.substr(0, bytes.size() / 2) : bytes, path);
  if (half) fail();
}

void FaultyFileSystem::sync_file(int, const fs::path& path) {
  std::lock_guard lock(unsynced_->mutex);
  if (strike()) fail();
  unsynced_->files.erase(path);
}

void FaultyFileSystem::close_file(FileDescriptor file, const fs::path& path) {
  std::lock_guard lock(unsynced_->mutex);
  if (strike()) fail();
  FileSystem::close_file(std::move(file), path);
}

void FaultyFileSystem::rename(const fs::path& from, const fs::path& to) {
  std::lock_guard lock(unsynced_->mutex);
  if (strike()) fail();
  FileSystem::rename(from, to);
  unsynced_->entries.push_back({from, to});
  std::set<fs::path> files;
  for (const fs::path& file : unsynced_->files) files.insert(renamed(file, from, to));
  unsynced_->files = files;
}

void FaultyFileSystem::sync_directory(const fs::path& directory) {
  std::lock_guard lock(unsynced_->mutex);
  if (strike()) fail();
  for (size_t i = 0; i < unsynced_->entries.size();) {
    const UnsyncedState::Entry entry = unsynced_->entries[i];
    if (entry.to.parent_path() != directory) {
      ++i;
      continue;
    }
    unsynced_->entries.erase(unsynced_->entries.begin() + static_cast<std::ptrdiff_t>(i));
    if (entry.from.empty()) continue;
    // A rename that stays: what is pending from before it lies under the new name now.
    for (size_t earlier = 0; earlier < i; ++earlier) {
      unsynced_->entries[earlier].from =
          renamed(unsynced_->entries[earlier].from, entry.from, entry.to);
      unsynced_->entries[earlier].to =
          renamed(unsynced_->entries[earlier].to, entry.from, entry.to);
    }
  }
}

void FaultyFileSystem::remove_all(const fs::path& path) {
  std::lock_guard lock(unsynced_->mutex);
  bool half = strike();
  if (half && fs::is_directory(path) && !fs::is_empty(path)) {
    fs::remove_all(*fs::directory_iterator(path));
  }
  if (half) fail();
  FileSystem::remove_all(path);
}

void FaultyFileSystem::lose_unsynced() {
  for (const fs::path& file : unsynced_->files) {
    if (fs::exists(file)) fs::resize_file(file, fs::file_size(file) / 3);
  }
  unsynced_->files.clear();
  for (size_t i = unsynced_->entries.size(); i-- > 0;) {
    const UnsyncedState::Entry& entry = unsynced_->entries[i];
    if (entry.from.empty()) {
      fs::remove_all(entry.to);
    } else if (fs::exists(entry.to)) {
      fs::rename(entry.to, entry.from);
    }
  }
  unsynced_->entries.clear();
}

}  // namespace titan::test
