// What the ranks of a group have of one tensor each, brought together: rows gathered, sums
// scattered. Where all can map the others' memory (PeerMemory) it is copied: the copy engines take
// no multiprocessor from the products that run meanwhile, as NCCL's kernels do, and what is summed
// in fp32 can travel in bf16. Elsewhere NCCL or gloo.
//
//   gather   a rank copies the others' rows out of their memory
//   scatter  a rank copies to every other one its rows, into an inbox there; each sums what it got
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "lib/ops/device.hpp"
#include "lib/ops/sum_of_ranks.hpp"
#include "lib/parallel/group.hpp"
#include "lib/parallel/peer_memory.hpp"

namespace titan {

class ShardExchange {
 public:
  // Collective over the group. `shard_bytes`: the sum of padded_bytes() of all shards to come.
  // `inbox_bytes`: of what one rank sends another at a time; larger sums take several turns.
  // `watched_alone`: see World; it ends a process whose copies wait for a rank that is gone.
  ShardExchange(Group group, Group watched_alone, const ops::Device& device, int64_t shard_bytes,
                int64_t inbox_bytes);
  static int64_t padded_bytes(const std::vector<int64_t>& shape, at::ScalarType dtype);
  // Memory beside the shards, of a group of so many ranks that share a host.
  static int64_t inboxes_bytes(int64_t ranks, int64_t inbox_bytes);

  // Whether it is copied, and if not, why (empty for one rank).
  bool copies() const { return memory_ != nullptr; }
  const std::string& why_not() const { return why_not_; }

  // A place for this rank's rows; all ranks ask for the same in the same order.
  at::Tensor zeros(const std::vector<int64_t>& shape, at::ScalarType dtype);

  // Enqueued after what this rank has written there: all_gather() on any rank waits for as many
  // calls of every rank as it has made itself. The caller sees to it that no rank writes again
  // before the others have gathered.
  void written();
  // Like Group::all_gather, of inputs that zeros() has made.
  void all_gather(const std::vector<Transfer>& transfers) const;

  // out = [out +] the sum over the ranks, from the first to the last, of this rank's rows of `in`.
  // `out` is fp32 (CPU only: fp64). Through NCCL and gloo `in` must have its dtype, and
  // `accumulate` be false.
  void reduce_scatter(const std::vector<Transfer>& transfers, bool accumulate);

 private:
  // Part of a transfer: so many elements of a rank's rows, from `first` on.
  struct Piece {
    const Transfer* transfer;
    int64_t first, count;
    int64_t place;  // in an inbox
  };
  // A stream waits for the other ranks' counters without a limit of time; what the group is given
  // behind that has one.
  void watch() const;
  void take_turn(const std::vector<Piece>& turn, bool accumulate);
  std::byte* inbox(int64_t owner, int64_t from) const;
  // What a rank tells another: how often it has written, sent to it, taken what that one has sent.
  enum Counter : int64_t { kWritten, kSent, kTaken, kCounters };

  Group group_, watched_alone_;
  at::Device device_;
  at::Tensor watched_;
  std::string why_not_;
  int64_t shard_bytes_, inbox_bytes_;
  std::shared_ptr<PeerMemory> memory_;  // shards, then an inbox for each other rank
  int64_t given_ = 0;                   // bytes of the shards
  uint32_t times_written_ = 0, turns_ = 0;
};

}  // namespace titan
