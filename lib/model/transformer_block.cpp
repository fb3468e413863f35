#include "lib/model/transformer_block.hpp"

namespace titan {

struct TransformerBlock::Kept final : Block::Saved {
  at::Tensor x;    // the block's input
  at::Tensor mid;  // after attention and its residual
  PreNorm::Saved attention_norm, ffn_norm;
  Attention::Saved attention;
  FeedForward::Saved feed_forward;

  int64_t bytes() const override {
    int64_t sum = 0;
    for (const at::Tensor& tensor :
         {x, mid, attention_norm.rstd, attention_norm.column_amax, attention.qkv,
          attention.attention.out, attention.attention.logsumexp, attention.out_amax, ffn_norm.rstd,
          ffn_norm.column_amax, feed_forward.gate_up, feed_forward.hidden_amax}) {
      if (tensor.defined()) sum += static_cast<int64_t>(tensor.nbytes());
    }
    return sum;
  }
};

TransformerBlock::TransformerBlock(const BlockConfig& config)
    : attention_norm_(kAttentionNorm, kQkv, config.attention_norm.eps),
      attention_(config.attention, kQkv, kWo),
      ffn_norm_(kFfnNorm, kGateUp, config.ffn_norm.eps),
      feed_forward_(kGateUp, kDown),
      recompute_(config.recompute) {}

Unit TransformerBlock::declare(const BlockConfig& config, const std::string& name,
                               const TensorParallelRank& tp) {
  return {.name = name,
          .parameters =
              {
                  declare_norm(config.attention_norm, name + ".attention_norm"),
                  declare_linears(config.attention.qkv, name + ".attention.", tp),
                  declare_linears(config.attention.wo, name + ".attention.", tp),
                  declare_norm(config.ffn_norm, name + ".ffn_norm"),
                  declare_linears(config.feed_forward.gate_up, name + ".feed_forward.", tp),
                  declare_linears(config.feed_forward.down, name + ".feed_forward.", tp),
              },
          .backward_repeats_forward = config.recompute != Recompute::kNothing};
}

at::Tensor TransformerBlock::forward(const StepContext& context, const Weights& weights,
                                     at::Tensor x, std::unique_ptr<Block::Saved>* saved) const {
  auto kept = std::make_unique<Kept>();
  kept->mid = attend(context, weights, x, *kept);
  kept->x = std::move(x);
  if (saved == nullptr) kept->attention = {};

  at::Tensor out = feed_forward_.forward(
      context, weights, ffn_norm_.forward_with_linear(context, weights, kept->mid, kept->ffn_norm),
      kept->mid, kept->feed_forward);

  if (recompute_ != Recompute::kNothing) kept->feed_forward.gate_up.reset();
  if (recompute_ == Recompute::kBlock) {
    auto input_only = std::make_unique<Kept>();
    input_only->x = kept->x;
    input_only->feed_forward.hidden_amax = kept->feed_forward.hidden_amax;
    kept = std::move(input_only);
  }
  if (saved != nullptr) *saved = std::move(kept);
  return out;
}

at::Tensor TransformerBlock::attend(const StepContext& context, const Weights& weights,
                                    const at::Tensor& x, Kept& kept) const {
  return attention_.forward(
      context, weights,
      attention_norm_.forward_with_linear(context, weights, x, kept.attention_norm), x,
      kept.attention);
}

void TransformerBlock::forward_kept(const StepContext& context, const Weights& weights,
                                    Kept& kept) const {
  if (!kept.mid.defined()) kept.mid = attend(context, weights, kept.x, kept);
  if (!kept.feed_forward.gate_up.defined()) {
    kept.feed_forward.gate_up =
        ffn_norm_.forward_with_linear(context, weights, kept.mid, kept.ffn_norm);
  }
}

TokenGradient TransformerBlock::backward(const StepContext& context, const Weights& weights,
                                         const Gradients& gradients, TokenGradient dy,
                                         std::unique_ptr<Block::Saved> saved) const {
  Kept& kept = static_cast<Kept&>(*saved);
  forward_kept(context, weights, kept);

  LinearGradient dgate_up =
      feed_forward_.backward(context, weights, gradients, dy.all.wait(), kept.feed_forward);
  PreNorm::WithLinear dmid = ffn_norm_.backward_with_linear(
      context, weights, gradients, std::move(dgate_up), std::move(kept.mid), kept.ffn_norm,
      std::move(dy.own), &weights[kWo]);

  LinearGradient dqkv = attention_.backward(context, weights, gradients, dmid.dx.all.wait(),
                                            dmid.copy, kept.attention);
  dmid.copy = {};
  return attention_norm_
      .backward_with_linear(context, weights, gradients, std::move(dqkv), std::move(kept.x),
                            kept.attention_norm, std::move(dmid.dx.own), /*producer=*/nullptr)
      .dx;
}

}  // namespace titan
