#include "lib/optim/optimizer.hpp"

#include "lib/ops/gradient_norm.hpp"

namespace titan {

Optimizer::Optimizer(const OptimizerConfig& config, Sharder& sharder, const ops::Device& device)
    : config_(config), sharder_(sharder), controls_(device.torch()) {
  sharder_.allocate_moments();
}

void Optimizer::step(double learning_rate, const at::Tensor& loss) {
  // One sum over the world, so that all ranks decide alike. What several ranks hold counts once.
  const Mesh& mesh = sharder_.mesh();
  std::vector<at::Tensor> gradients;
  for (const Parameter* parameter : sharder_.parameters()) {
    const bool first_of_tp = parameter->split_by_tensor_parallel() || mesh.tp.rank() == 0;
    const bool counts = first_of_tp && mesh.dp_replicate.rank() == 0;
    if (counts && parameter->shard.count > 0) gradients.push_back(parameter->gradient);
  }
  at::Tensor square_sum = ops::square_sum(gradients, loss.device());
  mesh.world.all_reduce_(square_sum);
  ops::decide_step({config_.max_norm, config_.beta1, config_.beta2}, square_sum, loss, controls_);

  const ops::AdamWSettings settings{.learning_rate = learning_rate,
                                    .beta1 = config_.beta1,
                                    .beta2 = config_.beta2,
                                    .epsilon = config_.eps,
                                    .weight_decay = config_.weight_decay,
                                    .decoupled = config_.decoupled_weight_decay};
  for (const Parameter* parameter : sharder_.parameters()) {
    for (const ShardPiece& piece : parameter->pieces()) update(*parameter, piece, settings);
  }
  sharder_.parameters_updated();
}

void Optimizer::update(const Parameter& parameter, const ShardPiece& piece,
                       const ops::AdamWSettings& settings) const {
  const at::Tensor rounded = sharder_.rounding_target(parameter);
  std::optional<ops::MomentRounding> rounding;
  if (sharder_.config().bfloat16_moments) {
    rounding = {.key = ops::rounding_key(seed_, parameter.members[piece.member].name),
                .block = parameter.global_block(piece)};
  }
  ops::adamw_({.master = piece.of(parameter.master),
               .gradient = piece.of(parameter.gradient),
               .exp_avg = piece.of(parameter.exp_avg),
               .exp_avg_sq = piece.of(parameter.exp_avg_sq),
               .compute = rounded.defined() ? piece.of(rounded) : at::Tensor()},
              settings, controls_, rounding);
}

int64_t Optimizer::updates_sync() const { return controls_.step().item<int64_t>(); }
void Optimizer::set_updates(int64_t updates) { controls_.step().fill_(updates); }

}  // namespace titan
