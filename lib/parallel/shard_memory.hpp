// Where the ranks of a group keep what they gather from each other. Where every GPU can map the
// others' memory (PeerMemory) a rank copies their rows out of it by its copy engines, which take no
// multiprocessor from the products that run meanwhile; elsewhere NCCL or gloo gathers. The bits are
// the same.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "lib/ops/device.hpp"
#include "lib/parallel/group.hpp"
#include "lib/parallel/peer_memory.hpp"

namespace titan {

class ShardMemory {
 public:
  // Collective over the group. `bytes`: the sum of padded_bytes() of all tensors to come.
  ShardMemory(Group group, const ops::Device& device, int64_t bytes);
  static int64_t padded_bytes(const std::vector<int64_t>& shape, at::ScalarType dtype);

  // A place for this rank's rows; all ranks ask for the same in the same order.
  at::Tensor zeros(const std::vector<int64_t>& shape, at::ScalarType dtype);

  // Enqueued after what this rank has written: all_gather() on any rank waits for as many calls of
  // every rank as it has made itself. The caller sees to it that a rank does not write again before
  // the others have gathered.
  void written();
  // Like Group::all_gather, of inputs that zeros() has made.
  void all_gather(const std::vector<Transfer>& transfers) const;

  // Why the copy engines do not gather; empty if they do.
  const std::string& why_not_copied() const { return why_not_copied_; }

 private:
  Group group_;
  at::Device device_;
  std::string why_not_copied_;
  std::unique_ptr<PeerMemory> memory_;  // its counter r: how often rank r has written
  int64_t taken_ = 0;                   // bytes of it
  uint32_t times_written_ = 0;
};

}  // namespace titan
