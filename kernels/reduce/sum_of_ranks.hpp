// Sums in fp32 of what several ranks have sent: sum = [sum +] part 0 + part 1 + ..., in this order.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace titan::kernels {

inline constexpr int kMaxRanks = 8;
inline constexpr int kMaxSums = 8;  // of one launch

struct SumOfRanks {
  float* sum;
  const void* parts[kMaxRanks];  // `count` values each, of bf16 or fp32
  int64_t count;
  bool parts_in_bf16;
  bool accumulate;  // on what `sum` holds
};

// `sums`: at most kMaxSums, all of `parts` parts, from 1 to kMaxRanks. One launch.
void sum_of_ranks(const SumOfRanks* sums, int count, int parts, cudaStream_t stream);

}  // namespace titan::kernels
