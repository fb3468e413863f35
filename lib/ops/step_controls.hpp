// What the device knows about an optimizer step and the host does not wait for. One per optimizer,
// in the memory of its device; decide_step() writes it, adamw_() reads it.
#pragma once

#include <ATen/core/Tensor.h>

#include "kernels/optim/step_controls.hpp"

namespace titan::ops {

using kernels::StepDecision;

class StepControls {
 public:
  explicit StepControls(at::Device device);

  // Scalars in device memory, always the current ones.
  const at::Tensor& step() const { return step_; }  // int64: updates so far; fill_() on resume
  const at::Tensor& norm() const { return norm_; }  // fp32: gradient norm before clipping
  const at::Tensor& clip_factor() const { return clip_factor_; }  // fp32
  const at::Tensor& skip() const { return skip_; }  // int32: 1 when the step changes nothing

  kernels::StepControls* address() const;

  // On the host, for ops without kernels: reads wait for the device.
  kernels::StepControls values_sync() const;
  void set_values(const kernels::StepControls& values) const;

 private:
  at::Tensor storage_;  // the bytes of one kernels::StepControls
  at::Tensor step_, norm_, clip_factor_, skip_;
};

// From the sum of squares of all gradients (fp64 scalar) and the step's loss (scalar, may be
// undefined): the norm, the clip factor min(1, max_norm / (norm + 1e-6)), skip = 1 where either is
// not finite, and otherwise one step more with its bias corrections. Enqueues only where the
// kernels run, and waits for the device on other GPUs.
void decide_step(const StepDecision& decision, const at::Tensor& square_sum, const at::Tensor& loss,
                 const StepControls& controls);

}  // namespace titan::ops
