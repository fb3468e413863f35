// What this rank holds of the training state, in host memory, as a checkpoint is written from it.
// Three ways to get there:
//   in place   CPU tensors that nobody changes before the save has ended are read where they are
//   copied     into ordinary memory, done when take() returns
//   pinned     into page-locked memory that is kept for the next save, on a stream of its own: the
//              next forward and backward run meanwhile, and only the next update has to wait
#pragma once

#include <vector>

#include "lib/checkpoint/tensor_slice.hpp"
#include "lib/ops/device.hpp"
#include "lib/ops/side_stream.hpp"
#include "lib/parallel/sharder.hpp"

namespace titan {

class HostCopies {
 public:
  enum class Kind { kInPlace, kCopied, kPinned };

  explicit HostCopies(const ops::Device& device) : stream_(device) {}

  // Makes the page-locked memory of kPinned now, which takes seconds: before training rather than
  // at its first save.
  void reserve_pinned(Sharder& sharder);

  // Slices of every member that this rank is to write, and of its moments where asked: what several
  // ranks hold alike (along dp_replicate; norms along tp) the first of them writes. They stay valid
  // until the next take(). kPinned is kCopied on the CPU.
  void take(Kind kind, Sharder& sharder, bool with_moments);
  const std::vector<TensorSlice>& model() const { return model_; }
  const std::vector<TensorSlice>& moments() const { return moments_; }

  // Waits until the bytes are there; callable from another thread.
  void wait_sync() const { copied_.wait_sync(); }
  // Makes the current stream wait before it may change what is being copied.
  void order_before_update() const { copied_.wait(); }

 private:
  // The memory of a slot, page-locked and like this CUDA tensor.
  at::Tensor& pinned(const at::Tensor& tensor, size_t slot);
  at::Tensor host_copy(Kind kind, const at::Tensor& tensor, size_t slot);

  ops::SideStream stream_;
  ops::SideStream::Mark copied_;
  std::vector<at::Tensor> tensors_;  // what the slices point into, by slot; pinned ones are reused
  std::vector<TensorSlice> model_, moments_;
};

}  // namespace titan
