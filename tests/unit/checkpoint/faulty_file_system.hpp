// A file system that fails or dies at the k-th operation, and can then lose what was not fsynced.
#pragma once

#include <atomic>
#include <limits>
#include <memory>
#include <mutex>
#include <set>
#include <vector>

#include "lib/checkpoint/file_system.hpp"

namespace titan::test {

// What no fsync has made durable yet, on a disk that several ranks may share.
struct UnsyncedState {
  // A new entry (from is empty) or a rename. The names are those of its time.
  struct Entry {
    std::filesystem::path from;
    std::filesystem::path to;
  };

  std::recursive_mutex mutex;
  std::vector<Entry> entries;
  std::set<std::filesystem::path> files;
};

class FaultyFileSystem : public FileSystem {
 public:
  static constexpr int kNever = std::numeric_limits<int>::max();

  enum class Fault {
    kError,  // the k-th operation fails half-way; those after it work
    kDeath,  // the k-th operation stops half-way and nothing comes after it
  };

  FaultyFileSystem(Fault fault, int at,
                   std::shared_ptr<UnsyncedState> unsynced = std::make_shared<UnsyncedState>())
      : fault_(fault), at_(at), unsynced_(std::move(unsynced)) {}

  // Whether the fault has happened.
  bool struck() const { return count_ >= at_; }

  // After a death: takes back, as a power failure may, all that no fsync has made durable: contents
  // of files, new entries of directories, renames.
  void lose_unsynced();

  void create_directory(const std::filesystem::path& directory) override;
  FileDescriptor create_file(const std::filesystem::path& path) override;
  void write(int descriptor, std::string_view bytes, const std::filesystem::path& path) override;
  void sync_file(int descriptor, const std::filesystem::path& path) override;
  void close_file(FileDescriptor file, const std::filesystem::path& path) override;
  void rename(const std::filesystem::path& from, const std::filesystem::path& to) override;
  void sync_directory(const std::filesystem::path& directory) override;
  void remove_all(const std::filesystem::path& path) override;

 private:
  // Counts an operation; true when it is to stop half-way, throws when it is not to happen at all.
  bool strike();
  [[noreturn]] void fail() const;

  Fault fault_;
  int at_;
  std::atomic<int> count_ = 0;
  std::shared_ptr<UnsyncedState> unsynced_;
};

}  // namespace titan::test
