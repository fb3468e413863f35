// The sum of squares of many tensors in fixed order, and what follows from it for the step.
// Squares are added in fp32 within 16 bytes and in fp64 beyond; no atomics. Enqueues on `stream`;
// no allocation, no wait. Throws Error when a launch fails.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/optim/step_controls.hpp"

namespace titan::kernels {

// How many partial sums a tensor of this many values gives.
int64_t square_sum_partials(int64_t count);

// partials[0 .. square_sum_partials(count)) of `values`. T: float or __nv_bfloat16.
template <class T>
void square_sum(const T* values, int64_t count, double* partials, cudaStream_t stream);

// *square_sum = the sum of `count` partials.
void add_partials(const double* partials, int64_t count, double* square_sum, cudaStream_t stream);

// decide_step() on the device; `loss` may be nullptr.
void decide_step(const StepDecision& decision, const double* square_sum, const float* loss,
                 StepControls* controls, cudaStream_t stream);

}  // namespace titan::kernels
