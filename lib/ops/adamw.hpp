// One step of AdamW or Adam on one parameter, as torch.optim (formulas: adamw_element.hpp), with
// clipping and skipping decided on the device.
#pragma once

#include <ATen/core/Tensor.h>

#include "kernels/optim/adamw_element.hpp"
#include "lib/ops/step_controls.hpp"

namespace titan::ops {

// learning_rate, beta1, beta2, epsilon, weight_decay, decoupled (AdamW) or not (Adam).
using kernels::AdamWSettings;

// Contiguous, of equal size, on one device.
struct AdamWTensors {
  at::Tensor master;    // fp32 or bf16 (CPU only: fp64)
  at::Tensor gradient;  // fp32 or bf16 (CPU only: fp64); scaled by controls.clip_factor()
  at::Tensor exp_avg, exp_avg_sq;  // master's dtype
  // Receives the bf16 rounding of the new master. Undefined or the master itself: none.
  at::Tensor compute;
};

// Changes nothing when controls.skip() is 1. decide_step() must have been given the same betas.
// Arithmetic in fp32 (fp64 for an fp64 master), rounded once. Enqueues only; on the CPU all of
// ATen's threads, and the same bits with any number of them. Throws titan::Error for wrong shapes
// or dtypes.
void adamw_(const AdamWTensors& tensors, const AdamWSettings& settings,
            const StepControls& controls);

}  // namespace titan::ops
