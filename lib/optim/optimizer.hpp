// Adam and AdamW over all parameters, with clipping by the global gradient norm and without a host
// wait: the norm, the clip factor and the decision to skip an update that is not finite stay on the
// device (formulas: torchtitan v0.2.2, components/optimizer.py and torch.optim). Moments in bf16
// are rounded stochastically, by the seed, the update and the element alone (lib/ops/adamw.hpp).
#pragma once

#include "lib/ops/adamw.hpp"
#include "lib/ops/device.hpp"
#include "lib/ops/step_controls.hpp"
#include "lib/parallel/sharder.hpp"

namespace titan {

struct OptimizerConfig {
  bool decoupled_weight_decay = true;  // AdamW; false: Adam, which adds weight_decay * p to g
  double beta1 = 0.9;
  double beta2 = 0.95;
  double eps = 1e-8;
  double weight_decay = 0.1;
  double max_norm =
      1.0;  // of all gradients together; the factor is min(1, max_norm / (norm + 1e-6))
};

class Optimizer {
 public:
  // Allocates the moments with the sharder, which outlives the optimizer.
  Optimizer(const OptimizerConfig& config, Sharder& sharder, const ops::Device& device);

  // Clips and updates by the gradients that the sharder holds, by the norm over all ranks. With a
  // non-finite norm or `loss` (a scalar on the device, equal on all ranks) nothing changes and
  // skipped() becomes 1. Enqueues only.
  void step(double learning_rate, const at::Tensor& loss);

  // Of the last step, on the device: the fp32 norm before clipping, and int32 1 where it was
  // skipped.
  const at::Tensor& grad_norm() const { return controls_.norm(); }
  const at::Tensor& skipped() const { return controls_.skip(); }

  // Updates that were not skipped: the t of the bias corrections, kept on the device.
  int64_t updates_sync() const;
  void set_updates(int64_t updates);
  // Of the rounding: the run's, and after a resume the same again.
  void set_seed(uint64_t seed) { seed_ = seed; }

 private:
  // Of one member's part: what a checkpoint names and the rounding is drawn for.
  void update(const Parameter& parameter, const ShardPiece& piece,
              const ops::AdamWSettings& settings) const;

  OptimizerConfig config_;
  Sharder& sharder_;
  ops::StepControls controls_;
  uint64_t seed_ = 0;
};

}  // namespace titan
