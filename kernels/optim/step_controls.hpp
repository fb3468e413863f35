// What the optimizer's kernels must know about a step while the host does not wait for it: whether
// it happens, how much the gradients are clipped, and Adam's bias corrections. A plain struct in
// device memory (or host memory on the CPU); the arithmetic is shared by both.
#pragma once

#include <cmath>
#include <cstdint>

#include "kernels/common/host_device.hpp"

namespace titan::kernels {

struct StepControls {
  int64_t step = 0;                       // optimizer steps done; skipped ones do not count
  double inverse_correction1 = 1.0;       // 1 / (1 - beta1^step)
  double inverse_root_correction2 = 1.0;  // 1 / sqrt(1 - beta2^step)
  float norm = 0.0f;                      // L2 norm of all gradients before clipping
  float clip_factor = 1.0f;               // min(1, max_norm / (norm + 1e-6))
  int32_t skip = 0;                       // 1: norm or loss is not finite, the step changes nothing
};

struct StepDecision {
  double max_norm = 1.0;  // infinity: no clipping
  double beta1 = 0.9;
  double beta2 = 0.95;
};

TITAN_HOST_DEVICE inline void decide_step(const StepDecision& decision, double square_sum,
                                          double loss, StepControls& controls) {
  const double norm = std::sqrt(square_sum);
  controls.norm = static_cast<float>(norm);
  controls.skip = std::isfinite(controls.norm) && std::isfinite(loss) ? 0 : 1;
  if (controls.skip) return;
  controls.clip_factor = static_cast<float>(std::fmin(1.0, decision.max_norm / (norm + 1e-6)));
  controls.step += 1;
  const double step = static_cast<double>(controls.step);
  controls.inverse_correction1 = 1.0 / (1.0 - std::pow(decision.beta1, step));
  controls.inverse_root_correction2 = 1.0 / std::sqrt(1.0 - std::pow(decision.beta2, step));
}

}  // namespace titan::kernels
