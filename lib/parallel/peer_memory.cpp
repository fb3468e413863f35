#include "lib/parallel/peer_memory.hpp"

#include <ATen/ATen.h>

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string_view>

namespace titan {
namespace {

constexpr int64_t kCounterStride = 128;  // bytes: a line for each, since other ranks write them

int64_t bytes_of_counters(int64_t counters) {
  return (counters * kCounterStride + 511) / 512 * 512;
}

// Which host, and since when it has been up.
using Host = std::array<char, 64>;
Host host_identity() {
  Host host{};
  std::ifstream("/proc/sys/kernel/random/boot_id").read(host.data(), host.size() - 1);
  return host;
}

}  // namespace

std::string PeerMemory::forbidden() {
  const auto is = [](const char* name, auto... values) {
    const char* value = std::getenv(name);
    return value != nullptr && ((std::string_view(value) == values) || ...);
  };
  if (is("NCCL_P2P_DISABLE", "1")) return "NCCL_P2P_DISABLE is 1";
  if (is("NCCL_P2P_LEVEL", "LOC", "0")) return "NCCL_P2P_LEVEL forbids it";
  return {};
}

std::byte* PeerMemory::of(int64_t rank) const {
  return mapped(rank) + bytes_of_counters(size() * counters_);
}

std::byte* PeerMemory::counter_at(int64_t owner, int64_t set_by, int64_t counter) const {
  return mapped(owner) + (set_by * counters_ + counter) * kCounterStride;
}

std::shared_ptr<PeerMemory> PeerMemory::open(const Group& group, const ops::Device& device,
                                             int64_t bytes, int64_t counters,
                                             std::string& why_not) {
  why_not.clear();
  std::shared_ptr<PeerMemory> memory =
      device.is_cuda() ? make_cuda_peer_memory() : make_host_peer_memory(group);
  memory->rank_ = group.rank();
  memory->counters_ = counters;
  memory->mapped_.resize(static_cast<size_t>(group.size()));
  const auto all_bytes = static_cast<size_t>(bytes_of_counters(group.size() * counters) + bytes);

  // Every rank learns all handles, tries to map them, and learns whether all could.
  struct Invitation {
    Handle handle;
    Host host;
  };
  Invitation mine{{}, host_identity()};
  std::string error = forbidden();
  if (error.empty()) {
    memory->mapped_[static_cast<size_t>(group.rank())] =
        memory->allocate(all_bytes, mine.handle, error);
  }
  at::Tensor message = at::empty({sizeof mine}, at::TensorOptions(at::kByte));
  std::memcpy(message.mutable_data_ptr(), &mine, sizeof mine);
  at::Tensor messages = at::empty({group.size() * message.numel()}, device.options(at::kByte));
  group.all_gather(messages, message.to(device.torch()));
  messages = messages.cpu();
  std::vector<Invitation> all(static_cast<size_t>(group.size()));
  std::memcpy(all.data(), messages.const_data_ptr(), all.size() * sizeof mine);

  for (int64_t rank = 0; rank < group.size() && error.empty(); ++rank) {
    const Invitation& other = all[static_cast<size_t>(rank)];
    if (rank == group.rank()) continue;
    if (other.host != mine.host) {
      error = "the ranks are not all on one host";
    } else {
      memory->mapped_[static_cast<size_t>(rank)] = memory->map(other.handle, error);
    }
  }
  at::Tensor failed = at::full({}, error.empty() ? 0 : 1, device.options(at::kInt));
  group.all_reduce_(failed, Reduction::kMax);
  if (failed.item<int>() == 0) return memory;
  why_not = error.empty() ? "a rank cannot map the others' memory" : error;
  memory->unmap_others();
  group.all_reduce_(failed);
  (void)failed.item<int>();
  memory->free_own();
  return nullptr;
}

}  // namespace titan
