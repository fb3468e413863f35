// What this rank holds of the training state, in host memory, as a checkpoint is written from it.
// Three ways to get there:
//   in place   CPU tensors that nobody changes before the save has ended are read where they are
//   copied     into ordinary memory, done when take() returns
//   pinned     into page-locked memory that is kept for the next save, on a stream of its own: the
//              next forward and backward run meanwhile, and only the next update has to wait
#pragma once

#include <memory>
#include <vector>

#include "lib/checkpoint/tensor_slice.hpp"
#include "lib/ops/device.hpp"
#include "lib/ops/side_stream.hpp"
#include "lib/parallel/sharder.hpp"
#include "lib/train/pinned_memory.hpp"

namespace titan {

class HostCopies {
 public:
  enum class Kind { kInPlace, kCopied, kPinned };

  explicit HostCopies(const ops::Device& device) : on_cuda_(device.is_cuda()), stream_(device) {}

  // What pinned copies of this rank's state take.
  static size_t pinned_bytes(Sharder& sharder);
  // Begins to take that memory, with this many threads in the background.
  void reserve_pinned(Sharder& sharder, size_t threads);
  // Ends it, which holds kernel launches up; the second call and those after it do nothing. On the
  // CPU the memory is an ordinary one. Throws InputError when it cannot be locked.
  void lock_pinned_sync();
  bool has_pinned() const { return pinned_ != nullptr; }
  bool pinned_is_filled() const { return pinned_->filled(); }

  // Slices of every member that this rank is to write, and of its moments where asked: what several
  // ranks hold alike (along dp_replicate; norms along tp) the first of them writes. They stay valid
  // until the next take(). kPinned needs reserve_pinned().
  void take(Kind kind, Sharder& sharder, bool with_moments);
  const std::vector<TensorSlice>& model() const { return model_; }
  const std::vector<TensorSlice>& moments() const { return moments_; }

  // Waits until the bytes are there; callable from another thread.
  void wait_sync() const { copied_.wait_sync(); }
  // Makes the current stream wait before it may change what is being copied.
  void order_before_update() const { copied_.wait(); }

 private:
  at::Tensor host_copy(Kind kind, const at::Tensor& tensor);
  at::Tensor pinned_copy(const at::Tensor& tensor);

  bool on_cuda_;
  ops::SideStream stream_;
  ops::SideStream::Mark copied_;
  // What the slices point into.
  std::vector<at::Tensor> tensors_;
  std::unique_ptr<PinnedMemory> pinned_;
  size_t pinned_used_ = 0;  // bytes, by the copies of this take()
  std::vector<TensorSlice> model_, moments_;
};

}  // namespace titan
