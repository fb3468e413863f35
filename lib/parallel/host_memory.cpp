#include "lib/parallel/host_memory.hpp"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <limits>
#include <map>
#include <optional>
#include <sstream>

#include "lib/base/error.hpp"

namespace titan {
namespace fs = std::filesystem;
namespace {

// The number after `name` in lines of a name and a number.
std::optional<int64_t> number_of(const fs::path& path, const std::string& name) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string first;
    int64_t number = 0;
    if (words >> first >> number && first == name) return number;
  }
  return std::nullopt;
}

// Of a file that holds one number; nothing where there is none, as in memory.max without a limit.
std::optional<int64_t> number_in(const fs::path& path) {
  std::ifstream file(path);
  int64_t number = 0;
  return file >> number ? std::optional(number) : std::nullopt;
}

// The control group (v2) of this process as its container sees it: a path from the top.
std::string control_group(const fs::path& root) {
  std::ifstream file(root / "proc/self/cgroup");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("0::/")) return line.substr(4);
  }
  return "";
}

// What the limits of the group and of those around it leave, where there are any. Pages of files
// that nobody has used lately make room, as they do in MemAvailable.
int64_t left_by_limits(const fs::path& root) {
  int64_t least = std::numeric_limits<int64_t>::max();
  const fs::path top = root / "sys/fs/cgroup";
  for (fs::path group = top / control_group(root);; group = group.parent_path()) {
    if (const auto limit = number_in(group / "memory.max")) {
      const int64_t used = number_in(group / "memory.current").value_or(0) -
                           number_of(group / "memory.stat", "inactive_file").value_or(0);
      least = std::min(least, *limit - used);
    }
    if (group == top || !group.has_relative_path()) return least;
  }
}

std::string gib(int64_t bytes) {
  char text[32];
  std::snprintf(text, sizeof text, "%.2f GiB", static_cast<double>(bytes) / (1ll << 30));
  return text;
}

struct Host {
  std::string name;
  int64_t ranks = 0;
  int64_t wanted = 0;
  int64_t available = std::numeric_limits<int64_t>::max();
};

}  // namespace

HostMemory HostMemory::here(const fs::path& root) {
  char name[256] = "this host";
  ::gethostname(name, sizeof name - 1);
  const std::optional<int64_t> kib = number_of(root / "proc/meminfo", "MemAvailable:");
  const int64_t of_host = kib ? *kib * 1024 : std::numeric_limits<int64_t>::max();
  std::string boot_id;
  std::ifstream(root / "proc/sys/kernel/random/boot_id") >> boot_id;
  return {name, boot_id, std::min(of_host, left_by_limits(root))};
}

int64_t require_host_memory(HostGroup& group, int64_t wanted, const HostMemory& memory,
                            const std::string& purpose) {
  // Containers on one host have names, and limits, of their own.
  std::map<std::string, Host> hosts;
  const std::string own = concat(memory.boot_id, " ", memory.host);
  for (const std::string& message :
       group.exchange(concat(wanted, " ", memory.available, " ", own))) {
    std::istringstream words(message);
    int64_t of_rank = 0, available = 0;
    std::string identity;
    std::getline((words >> of_rank >> available).ignore(1), identity);
    Host& host = hosts[identity];
    host.name = identity.substr(identity.find(' ') + 1);
    ++host.ranks;
    host.wanted += of_rank;
    host.available = std::min(host.available, available);
  }
  for (const auto& [_, host] : hosts) {
    if (host.wanted <= host.available) continue;
    throw InputError(concat(purpose, " takes ", gib(host.wanted), " of host memory on ", host.name,
                            " (", host.ranks, host.ranks == 1 ? " rank" : " ranks", "), where ",
                            gib(host.available),
                            " are available: free some or raise the job's limit, or train on more "
                            "hosts"));
  }
  return hosts.at(own).ranks;
}

}  // namespace titan
