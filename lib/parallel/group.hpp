// Ranks that exchange tensors: NCCL on CUDA, gloo on the CPU. A handle: copies are the same group.
// Every rank of a group calls the same functions in the same order. On CUDA they enqueue on the
// current stream and return; the tensors must stay alive until that stream is past them. On the CPU
// they return when it is done, or throw PeerError when a rank is gone; NCCL finds that in a thread
// of its own, and ends the process.
#pragma once

#include <ATen/core/Tensor.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace titan {

enum class Reduction { kSum, kMax };

// One collective's tensors, contiguous and of equal dtype; the larger has size() times the rows of
// the smaller.
struct Transfer {
  at::Tensor out, in;
};

class Group {
 public:
  Group() = default;  // this rank alone: gathering copies, reducing changes nothing

  int64_t rank() const;
  int64_t size() const;

  // out = the ranks' `in`, one below another. `in` may be this rank's own rows of `out`.
  void all_gather(const at::Tensor& out, const at::Tensor& in) const;
  // out = rows [rank() * n, (rank() + 1) * n) of the sum of the ranks' `in`.
  void reduce_scatter(const at::Tensor& out, const at::Tensor& in) const;
  // The same for several tensors at once: one launch where the backend can.
  void all_gather(const std::vector<Transfer>& transfers) const;
  void reduce_scatter(const std::vector<Transfer>& transfers) const;
  // In place; equal bits on all ranks.
  void all_reduce_(const at::Tensor& tensor, Reduction reduction = Reduction::kSum) const;
  void all_reduce_(const std::vector<at::Tensor>& tensors) const;

  // How long a rank may wait for the others. Not for one rank.
  std::chrono::milliseconds timeout() const;

 private:
  friend class World;
  struct Members;
  std::shared_ptr<const Members> members_;  // null: this rank alone
};

}  // namespace titan
