// One step of AdamW or Adam on one parameter, as torch.optim (formulas: adamw_element.hpp), with
// clipping and skipping decided on the device, and the moments in the master's dtype or in bf16.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <string_view>

#include "kernels/optim/adamw_element.hpp"
#include "kernels/optim/moment_rounding.hpp"
#include "lib/ops/step_controls.hpp"

namespace titan::ops {

// learning_rate, beta1, beta2, epsilon, weight_decay, decoupled (AdamW) or not (Adam).
using kernels::AdamWSettings;

// Contiguous, of equal size, on one device.
struct AdamWTensors {
  at::Tensor master;    // fp32 or bf16 (CPU only: fp64)
  at::Tensor gradient;  // fp32 or bf16 (CPU only: fp64); scaled by controls.clip_factor()
  at::Tensor exp_avg, exp_avg_sq;  // master's dtype; bf16 where rounded stochastically
  // Receives the bf16 rounding of the new master, also of one that a skipped step leaves alone. May
  // be the gradient, whose values are then lost. Undefined or the master itself: none.
  at::Tensor compute;
};

// How bf16 moments are rounded (moment_rounding.hpp): the key of the whole parameter, and which
// block of it the tensors are.
using kernels::MomentRounding;
using kernels::TensorBlock;
uint64_t rounding_key(uint64_t seed, std::string_view parameter_name);

// Changes nothing but `compute` when controls.skip() is 1. decide_step() must have been given the
// same betas. Arithmetic in fp32 (fp64 for an fp64 master); the master is updated with the new
// moments before those are rounded: to nearest in the master's dtype, or stochastically with
// `rounding`. Enqueues only where the kernels run; on the CPU all of ATen's threads. The bits do
// not depend on the number of threads nor on how a parameter is cut into tensors, and are the same
// on the CPU and on CUDA. Throws titan::Error for wrong shapes or dtypes.
void adamw_(const AdamWTensors& tensors, const AdamWSettings& settings,
            const StepControls& controls, const std::optional<MomentRounding>& rounding = {});

// The same in plain ATen on any device, for a step that is not skipped.
namespace reference {
void adamw_(const AdamWTensors& tensors, const AdamWSettings& settings,
            const kernels::StepControls& controls, const std::optional<MomentRounding>& rounding);
}  // namespace reference

}  // namespace titan::ops
