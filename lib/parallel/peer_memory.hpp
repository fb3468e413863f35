// Device memory of every rank of a group, mapped by all of them (CUDA IPC, GPUs of one host), and
// copies in it by the copy engines: unlike NCCL's kernels these take no multiprocessor from the
// products that run beside them. Counters beside the memory say how far a rank is; streams wait for
// them, not hosts and not kernels.
#pragma once

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
  // Collective over the group: `bytes` and so many counters, all 0, on every rank. Null, on all
  // ranks alike, where a GPU cannot map another's memory; `why_not` then says why. The memory stays
  // until the process ends, since other ranks may still be reading it. Throws Error where there is
  // not so much.
  static std::unique_ptr<PeerMemory> open(const Group& group, const ops::Device& device,
                                          int64_t bytes, int64_t counters, std::string& why_not);

  // The same for ranks that are threads of this process, on the CPU, where all is done on return
  // and waiting keeps the thread: for tests.
  static std::vector<std::unique_ptr<PeerMemory>> of_threads(int64_t ranks, int64_t bytes,
                                                             int64_t counters);

  int64_t rank() const { return rank_; }
  int64_t size() const { return static_cast<int64_t>(mapped_.size()); }
  // The rank's memory, as mapped here.
  std::byte* of(int64_t rank) const;

  // The following enqueue on the current stream.
  void copy(void* to, const void* from, size_t bytes) const;
  // Sets a counter of a rank, after all copies before it. Counts grow, by less than 2^15 at a time.
  void set(int64_t rank, int64_t counter, uint32_t count) const;
  // Waits until a counter of this rank has reached the count.
  void wait(int64_t counter, uint32_t count) const;

  // Bytes that all objects of this process have allocated, outside of ATen's allocator.
  static int64_t allocated() { return allocated_; }

 private:
  PeerMemory() = default;
  std::byte* counter_of(int64_t rank, int64_t counter) const;

  int64_t rank_ = 0;
  int64_t counter_bytes_ = 0;       // before the memory
  std::vector<std::byte*> mapped_;  // by rank: counters, then memory
  uint32_t* counts_ = nullptr;      // 0, 1, 2, ...: what is copied into a counter
  std::shared_ptr<std::vector<std::byte>> of_threads_;  // of all ranks; null on GPUs
  static inline std::atomic<int64_t> allocated_ = 0;
};

}  // namespace titan
