// The memory of a host, which its ranks take their share of together: whether it will do is asked
// before any of them fills it, since the kernel ends the process that goes too far.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "lib/parallel/host_group.hpp"

namespace titan {

// What one rank sees of its host.
struct HostMemory {
  std::string host;
  std::string boot_id;    // tells hosts of one name apart
  int64_t available = 0;  // bytes

  // Asks the kernel. `root` is where its /proc and /sys are looked for.
  static HostMemory here(const std::filesystem::path& root = "/");
};

// Collective: every rank is about to take `wanted` bytes, for `purpose` ("saving checkpoints").
// Returns how many of the ranks are on this rank's host. Where a host has less than its ranks want
// together, throws the same InputError on all ranks.
int64_t require_host_memory(HostGroup& group, int64_t wanted, const HostMemory& memory,
                            const std::string& purpose);

}  // namespace titan
