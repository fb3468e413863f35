// The second stage of sums over rows: the partial sums of some blocks, added in a fixed order.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace titan::kernels {

// out[cols] = (or, when `accumulate`, +=) the sum of partials[count, cols] over its rows. Enqueues
// on `stream`. Throws titan::Error when the launch fails.
void sum_partials(const float* partials, int64_t count, int64_t cols, float* out, bool accumulate,
                  cudaStream_t stream);

}  // namespace titan::kernels
