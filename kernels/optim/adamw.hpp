// One AdamW or Adam step over one tensor. Nothing changes when controls->skip is set, but `compute`
// receives its rounding all the same.
// Master: the type of the parameter; instantiated for (Master, Gradient) in {float,
// __nv_bfloat16}². The moments are in the master's type, rounded to nearest, or with kStochastic in
// bf16, rounded stochastically; the parameter is updated with the moments before they are rounded.
// Arithmetic in fp32, the same bits as the CPU's. Enqueues on `stream`; no allocation, no wait.
// Tensors are contiguous; any size and alignment. Throws Error when the launch fails.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>

#include <cstdint>
#include <type_traits>

#include "kernels/optim/adamw_element.hpp"
#include "kernels/optim/moment_rounding.hpp"
#include "kernels/optim/step_controls.hpp"

namespace titan::kernels {

template <class Master, class Gradient, bool kStochastic>
struct AdamW {
  using Moment = std::conditional_t<kStochastic, __nv_bfloat16, Master>;

  Master* parameter = nullptr;         // [count]
  const Gradient* gradient = nullptr;  // [count]
  Moment* exp_avg = nullptr;           // [count]
  Moment* exp_avg_sq = nullptr;        // [count]
  // [count] or nullptr: receives the rounded new parameter. May be the gradient's own memory.
  __nv_bfloat16* compute = nullptr;
  int64_t count = 0;
  AdamWSettings settings;
  const StepControls* controls = nullptr;  // in device memory
  MomentRounding rounding = {};            // with kStochastic
};

template <class Master, class Gradient, bool kStochastic>
void adamw(const AdamW<Master, Gradient, kStochastic>& params, cudaStream_t stream);

}  // namespace titan::kernels
