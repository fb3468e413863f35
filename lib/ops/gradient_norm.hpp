// The sum of squares of many tensors, for the global L2 norm: a separate step, so that ranks can
// add theirs before decide_step() (step_controls.hpp).
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

namespace titan::ops {

// Returns an fp64 scalar on the tensors' device; zero for none. Contiguous tensors of one device,
// each bf16 or fp32 (CPU only: fp64). Added in an order that depends on the sizes alone: the same
// inputs give the same bits, with any number of threads. One launch for each tensor and one more;
// a small workspace from the caching allocator. Enqueues only.
at::Tensor square_sum(const std::vector<at::Tensor>& tensors, at::Device device);

// The same in plain ATen on any device.
namespace reference {
at::Tensor square_sum(const std::vector<at::Tensor>& tensors, at::Device device);
}  // namespace reference

}  // namespace titan::ops
