#include "lib/checkpoint/step_folder.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstring>
#include <system_error>

#include "lib/base/error.hpp"
#include "lib/base/log.hpp"
#include "lib/checkpoint/manifest.hpp"

namespace titan {
namespace fs = std::filesystem;
namespace {

std::string this_process() {
  char host[256] = "unknown host";
  ::gethostname(host, sizeof host - 1);
  return concat("process ", ::getpid(), " on ", host);
}

// Nothing when there is no such folder. One that cannot be read must not pass for an empty one.
std::vector<fs::path> list(const fs::path& folder) {
  std::error_code error;
  std::vector<fs::path> paths;
  fs::directory_iterator entry(folder, error);
  if (error == std::errc::no_such_file_or_directory) return paths;
  for (; !error && entry != fs::directory_iterator(); entry.increment(error)) {
    paths.push_back(entry->path());
  }
  if (error) throw InputError(concat("cannot list ", folder.string(), ": ", error.message()));
  return paths;
}

}  // namespace

std::optional<int64_t> number_after(std::string_view prefix, std::string_view name) {
  if (!name.starts_with(prefix)) return std::nullopt;
  std::string_view digits = name.substr(prefix.size());
  int64_t number = 0;
  auto [end, error] = std::from_chars(digits.begin(), digits.end(), number);
  bool canonical = error == std::errc{} && end == digits.end() && std::to_string(number) == digits;
  return canonical && number >= 0 ? std::optional(number) : std::nullopt;
}

fs::path step_path(const fs::path& folder, int64_t step) { return folder / concat("step-", step); }

std::map<int64_t, fs::path> find_steps(const fs::path& folder) {
  std::map<int64_t, fs::path> steps;
  std::map<int64_t, fs::path> replaced;
  std::error_code error;
  for (const fs::path& path : list(folder)) {
    std::string name = path.filename();
    if (!fs::is_directory(path, error)) continue;
    if (auto step = number_after("step-", name)) steps.emplace(*step, path);
    if (auto step = number_after(".old-", name)) replaced.emplace(*step, path);
  }
  steps.merge(replaced);  // keeps a step's own name where both are there
  return steps;
}

std::vector<fs::path> find_leftovers(const fs::path& folder) {
  std::vector<fs::path> leftovers;
  std::error_code error;
  for (const fs::path& path : list(folder)) {
    std::string name = path.filename();
    auto replaced = number_after(".old-", name);
    if (number_after(".saving-", name) || number_after(".trash-", name) ||
        (replaced && fs::exists(step_path(folder, *replaced) / kManifestName, error))) {
      leftovers.push_back(path);
    }
  }
  return leftovers;
}

FolderLock FolderLock::acquire(const fs::path& folder) {
  fs::path path = folder / ".lock";
  FolderLock lock;
  lock.file_ = FileDescriptor(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644));
  int descriptor = lock.file_.get();
  if (descriptor < 0) {
    throw Error(concat("cannot create ", path.string(), ": ", std::strerror(errno)));
  }
  if (::flock(descriptor, LOCK_EX | LOCK_NB) != 0) {
    if (errno == EWOULDBLOCK) {
      throw InputError(
          concat("the checkpoint folder ", folder.string(), " is in use by ", read_file(path),
                 "; end that job or choose another checkpoint.folder or job.dump_folder"));
    }
    log::warning(concat("cannot lock ", path.string(), " (", std::strerror(errno),
                        "): nothing keeps a second job from writing to this folder"));
    return lock;
  }
  std::string owner = this_process();
  if (::ftruncate(descriptor, 0) != 0 ||
      ::pwrite(descriptor, owner.data(), owner.size(), 0) != static_cast<ssize_t>(owner.size())) {
    log::warning(concat("cannot write ", path.string(), ": ", std::strerror(errno)));
  }
  return lock;
}

}  // namespace titan
