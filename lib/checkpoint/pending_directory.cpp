#include "lib/checkpoint/pending_directory.hpp"

#include "lib/base/error.hpp"
#include "lib/base/log.hpp"

namespace titan {
namespace fs = std::filesystem;
namespace {

std::string without_step(const fs::path& target) {
  std::string name = target.filename();
  return name.starts_with("step-") ? name.substr(5) : name;
}

}  // namespace

PendingDirectory::PendingDirectory(FileSystem& files, fs::path target,
                                   const std::vector<std::string>& sub_directories)
    : files_(files),
      target_(fs::absolute(target)),
      interim_(target_.parent_path() / concat(".saving-", without_step(target_))),
      old_(target_.parent_path() / concat(".old-", without_step(target_))) {
  files_.remove_all(interim_);
  create_directories(files_, target_.parent_path());
  files_.create_directory(interim_);
  for (const std::string& name : sub_directories) files_.create_directory(interim_ / name);
}

PendingDirectory::~PendingDirectory() {
  if (published_) return;
  try {
    files_.remove_all(interim_);  // gives the space back at once: the disk may be full
  } catch (const std::exception& error) {
    log::warning(error.what());
  }
}

void PendingDirectory::publish() {
  files_.sync_directory(interim_);
  bool replaces = fs::exists(target_);
  if (replaces) {
    files_.remove_all(old_);
    files_.rename(target_, old_);
  }
  try {
    files_.rename(interim_, target_);
  } catch (...) {
    if (replaces) put_back();
    throw;
  }
  published_ = true;
  files_.sync_directory(target_.parent_path());
}

// After a failed rename. Should this fail too, find_steps still finds the old directory.
void PendingDirectory::put_back() {
  try {
    files_.rename(old_, target_);
  } catch (const std::exception& error) {
    log::warning(error.what());
  }
}

}  // namespace titan
