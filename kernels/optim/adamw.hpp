// One AdamW or Adam step over one tensor. Nothing changes when controls->skip is set.
// Master: the type of parameter, exp_avg and exp_avg_sq. Instantiated for (Master, Gradient) in
// {float, __nv_bfloat16}². Arithmetic in fp32, rounded once to Master. Enqueues on `stream`; no
// allocation, no wait. Tensors are contiguous; any size and alignment. Throws Error when the launch
// fails.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/optim/adamw_element.hpp"
#include "kernels/optim/step_controls.hpp"

namespace titan::kernels {

template <class Master, class Gradient>
struct AdamW {
  Master* parameter = nullptr;         // [count]
  const Gradient* gradient = nullptr;  // [count]
  Master* exp_avg = nullptr;           // [count]
  Master* exp_avg_sq = nullptr;        // [count]
  __nv_bfloat16* compute = nullptr;    // [count] or nullptr: receives the rounded new parameter
  int64_t count = 0;
  AdamWSettings settings;
  const StepControls* controls = nullptr;  // in device memory
};

template <class Master, class Gradient>
void adamw(const AdamW<Master, Gradient>& params, cudaStream_t stream);

}  // namespace titan::kernels
