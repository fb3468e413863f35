// The folder that holds step-N directories: what is in it, and who may write to it.
// A missing folder is an empty one; one that cannot be listed throws InputError.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string_view>
#include <vector>

#include "lib/base/file.hpp"

namespace titan {

// "step-1000" -> 1000 for prefix "step-". Nothing for other names, "step-007" and "step-1.bak"
// included.
std::optional<int64_t> number_after(std::string_view prefix, std::string_view name);

std::filesystem::path step_path(const std::filesystem::path& folder, int64_t step);

// Step number -> directory. A step that was being replaced when the job died is found under its
// interim name (.old-N) until a writer puts it back.
std::map<int64_t, std::filesystem::path> find_steps(const std::filesystem::path& folder);

// What an interrupted job left: .saving-*, .trash-*, and .old-N whose step-N is there again.
std::vector<std::filesystem::path> find_leftovers(const std::filesystem::path& folder);

// Keeps two jobs from writing one folder. The kernel releases it when its owner dies, on any host.
class FolderLock {
 public:
  // Takes {folder}/.lock. Throws InputError that names the owner when another job holds it, Error
  // when the file cannot be created. Warns where the file system knows no locks.
  static FolderLock acquire(const std::filesystem::path& folder);

  bool held() const { return file_.get() >= 0; }

 private:
  FileDescriptor file_;
};

}  // namespace titan
