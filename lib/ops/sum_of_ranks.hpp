// The sum of what several ranks have computed of one tensor.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

namespace titan::ops {

inline constexpr int64_t kMaxRanks = 8;

// sum = [sum +] parts[0] + parts[1] + ..., in this order, in the dtype of `sum`.
struct SumOfRanks {
  at::Tensor sum;                 // fp32; CPU only: fp64
  std::vector<at::Tensor> parts;  // of its size, bf16 or fp32 (CPU only: fp64), up to kMaxRanks
  bool accumulate = false;        // on what `sum` holds
};

// All tensors contiguous, all sums of equally many parts. On CUDA up to eight sums are one launch;
// enqueues only.
void sum_of_ranks(const std::vector<SumOfRanks>& sums);

// The same in plain ATen on any device.
namespace reference {
void sum_of_ranks(const std::vector<SumOfRanks>& sums);
}  // namespace reference

}  // namespace titan::ops
