// Adam's arithmetic for one element, shared by the CPU loop and the CUDA kernel. As torch.optim:
//   g <- clip_factor * g (+ weight_decay * p for Adam)
//   p <- p * (1 - lr * weight_decay)                    AdamW only
//   m <- beta1 * m + (1 - beta1) * g
//   v <- beta2 * v + (1 - beta2) * g²
//   p <- p - lr / (1 - beta1^t) * m / (sqrt(v) / sqrt(1 - beta2^t) + epsilon)
#pragma once

#include <cmath>

#include "kernels/common/host_device.hpp"
#include "kernels/optim/step_controls.hpp"

namespace titan::kernels {

// What stays the same through a run, and the learning rate of this step.
struct AdamWSettings {
  double learning_rate = 0.0;
  double beta1 = 0.9;
  double beta2 = 0.95;
  double epsilon = 1e-8;
  double weight_decay = 0.1;
  bool decoupled = true;  // true: AdamW; false: Adam, weight decay is part of the gradient
};

// Everything but the step's own factors, which are the same for all elements. Factors are formed in
// fp64 and rounded once to Real (float or double).
template <class Real>
struct AdamWFactors {
  Real l2, keep, beta1, one_minus_beta1, beta2, one_minus_beta2, epsilon;
  double learning_rate;
  Real clip = 1, step_size = 0, inverse_root_correction2 = 1;  // at_step()

  explicit AdamWFactors(const AdamWSettings& s)
      : l2(static_cast<Real>(s.decoupled ? 0.0 : s.weight_decay)),
        keep(static_cast<Real>(s.decoupled ? 1.0 - s.learning_rate * s.weight_decay : 1.0)),
        beta1(static_cast<Real>(s.beta1)),
        one_minus_beta1(static_cast<Real>(1.0 - s.beta1)),
        beta2(static_cast<Real>(s.beta2)),
        one_minus_beta2(static_cast<Real>(1.0 - s.beta2)),
        epsilon(static_cast<Real>(s.epsilon)),
        learning_rate(s.learning_rate) {}

  TITAN_HOST_DEVICE void at_step(const StepControls& controls) {
    clip = static_cast<Real>(controls.clip_factor);
    step_size = static_cast<Real>(learning_rate * controls.inverse_correction1);
    inverse_root_correction2 = static_cast<Real>(controls.inverse_root_correction2);
  }

  TITAN_HOST_DEVICE void update(Real& parameter, Real gradient, Real& exp_avg,
                                Real& exp_avg_sq) const {
    gradient = clip * gradient + l2 * parameter;
    exp_avg = beta1 * exp_avg + one_minus_beta1 * gradient;
    exp_avg_sq = beta2 * exp_avg_sq + one_minus_beta2 * gradient * gradient;
    const Real denominator = std::sqrt(exp_avg_sq) * inverse_root_correction2 + epsilon;
    parameter = keep * parameter - step_size * exp_avg / denominator;
  }
};

}  // namespace titan::kernels
