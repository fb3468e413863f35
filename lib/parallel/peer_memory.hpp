// Memory of every rank of a group, mapped by all of them, and copies in it. Between GPUs of one
// host (CUDA IPC) the copy engines carry these: unlike NCCL's kernels they take no multiprocessor
// from the products that run beside them. Counters beside the memory say how far a rank is; streams
// wait for them, not hosts and not kernels. On the CPU it is memory that the processes of a host
// share.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "lib/ops/device.hpp"
#include "lib/parallel/group.hpp"

namespace titan {

class PeerMemory {
 public:
  // Collective over the group: `bytes` on every rank, and for each rank so many counters there, all
  // 0. Null, on all ranks alike, where they cannot map each other's memory or shall not; `why_not`
  // then says why. GPU memory stays until the process ends, since other ranks may still be reading
  // it; a CPU rank that lets go of its memory has ended for the others that wait for it. Throws
  // Error where a GPU has not so much.
  static std::shared_ptr<PeerMemory> open(const Group& group, const ops::Device& device,
                                          int64_t bytes, int64_t counters, std::string& why_not);
  // Why it shall not be, by the environment of this process: NCCL_P2P_DISABLE=1 or
  // NCCL_P2P_LEVEL=LOC, NCCL's own switches for hosts on which GPUs do not reach each other's
  // memory, or not rightly; here for ranks on the CPU too. Empty if it may.
  static std::string forbidden();

  virtual ~PeerMemory() = default;
  PeerMemory(const PeerMemory&) = delete;
  PeerMemory& operator=(const PeerMemory&) = delete;

  int64_t rank() const { return rank_; }
  int64_t size() const { return static_cast<int64_t>(mapped_.size()); }
  // The rank's memory, as mapped here.
  std::byte* of(int64_t rank) const;

  // The following enqueue on the current stream; on the CPU all is done on return.
  virtual void copy(void* to, const void* from, size_t bytes) const = 0;
  // Sets this rank's counter at another rank (or here), after all copies before it. Counts grow, by
  // less than 2^15 at a time.
  virtual void set(int64_t rank, int64_t counter, uint32_t count) const = 0;
  // Waits until the rank has set its counter here to the count or more. On the CPU it throws
  // PeerError when that rank ends before, or does not within the group's timeout.
  virtual void wait(int64_t rank, int64_t counter, uint32_t count) const = 0;

  // Bytes of GPU memory that all objects of this process have taken, outside of ATen's allocator.
  static int64_t allocated() { return allocated_; }

 protected:
  using Handle = std::array<std::byte, 64>;  // what another process maps memory by

  PeerMemory() = default;
  // Zeroed memory of this rank, and its handle. With `error` if other ranks cannot map it.
  virtual std::byte* allocate(size_t bytes, Handle& handle, std::string& error) = 0;
  // Another rank's, as mapped here; null, with `error`, if it cannot be.
  virtual std::byte* map(const Handle& handle, std::string& error) = 0;
  // Where not all could map all: first what is mapped, then, when nobody maps it any more, the own.
  virtual void unmap_others() {}
  virtual void free_own() {}

  std::byte* mapped(int64_t rank) const { return mapped_[static_cast<size_t>(rank)]; }
  std::byte* counter_at(int64_t owner, int64_t set_by, int64_t counter) const;
  // A counter's value: counts are compared cyclically, in the high half.
  static uint32_t as_value(uint32_t count) { return count << 16; }

  static inline std::atomic<int64_t> allocated_ = 0;

 private:
  int64_t rank_ = 0, counters_ = 0;
  std::vector<std::byte*> mapped_;  // by rank: counters, then memory
};

// What PeerMemory::open() chooses from.
std::unique_ptr<PeerMemory> make_cuda_peer_memory();
std::unique_ptr<PeerMemory> make_host_peer_memory(const Group& group);

}  // namespace titan
