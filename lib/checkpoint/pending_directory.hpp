// A directory that appears complete or not at all: filled under an interim name beside its target,
// then renamed. "step-1000" is filled as ".saving-1000" (no "step-1000" in that name: scripts and
// torchtitan search for it); a target that exists is moved to ".old-1000" first.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "lib/checkpoint/file_system.hpp"

namespace titan {

class PendingDirectory {
 public:
  // Creates the interim directory with these sub-directories. Throws Error.
  PendingDirectory(FileSystem& files, std::filesystem::path target,
                   const std::vector<std::string>& sub_directories = {});
  // Removes the interim directory unless it was published.
  ~PendingDirectory();
  PendingDirectory(const PendingDirectory&) = delete;
  PendingDirectory& operator=(const PendingDirectory&) = delete;

  const std::filesystem::path& path() const { return interim_; }

  // Renames it to the target and makes that durable. All in it must have been fsynced. Throws
  // Error; the earlier target is then in its place, or found by find_steps.
  void publish();

  // Where a replaced target lies after publish(); to be deleted by the caller.
  const std::filesystem::path& replaced() const { return old_; }

 private:
  void put_back();

  FileSystem& files_;
  std::filesystem::path target_;
  std::filesystem::path interim_;
  std::filesystem::path old_;
  bool published_ = false;
};

}  // namespace titan
