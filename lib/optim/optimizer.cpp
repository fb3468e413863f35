#include "lib/optim/optimizer.hpp"

#include "lib/ops/gradient_norm.hpp"

namespace titan {

Optimizer::Optimizer(const OptimizerConfig& config, Sharder& sharder, const ops::Device& device)
    : config_(config), sharder_(sharder), controls_(device.torch()) {
  sharder_.allocate_moments();
}

void Optimizer::step(double learning_rate, const at::Tensor& loss) {
  std::vector<at::Tensor> gradients;
  for (const Parameter* parameter : sharder_.parameters()) gradients.push_back(parameter->gradient);
  at::Tensor square_sum = ops::square_sum(gradients, loss.device());
  ops::decide_step({config_.max_norm, config_.beta1, config_.beta2}, square_sum, loss, controls_);

  const ops::AdamWSettings settings{.learning_rate = learning_rate,
                                    .beta1 = config_.beta1,
                                    .beta2 = config_.beta2,
                                    .epsilon = config_.eps,
                                    .weight_decay = config_.weight_decay,
                                    .decoupled = config_.decoupled_weight_decay};
  for (const Parameter* parameter : sharder_.parameters()) {
    for (size_t i = 0; i < parameter->members.size(); ++i) update(*parameter, i, settings);
  }
  sharder_.parameters_updated();
}

void Optimizer::update(const Parameter& parameter, size_t member,
                       const ops::AdamWSettings& settings) const {
  const auto rows = [&](const at::Tensor& tensor) { return parameter.member_rows(tensor, member); };
  const at::Tensor rounded = sharder_.rounding_target(parameter);
  std::optional<ops::MomentRounding> rounding;
  if (sharder_.config().bfloat16_moments) {
    rounding = {.key = ops::rounding_key(seed_, parameter.members[member].name), .first_index = 0};
  }
  ops::adamw_({.master = rows(parameter.master),
               .gradient = rows(parameter.gradient),
               .exp_avg = rows(parameter.exp_avg),
               .exp_avg_sq = rows(parameter.exp_avg_sq),
               .compute = rounded.defined() ? rows(rounded) : at::Tensor()},
              settings, controls_, rounding);
}

int64_t Optimizer::updates_sync() const { return controls_.step().item<int64_t>(); }
void Optimizer::set_updates(int64_t updates) { controls_.step().fill_(updates); }

}  // namespace titan
