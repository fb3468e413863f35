#include "lib/model/transformer_block.hpp"

#include "lib/model/declare.hpp"
#include "lib/ops/rms_norm.hpp"

namespace titan {

struct TransformerBlock::Kept final : Block::Saved {
  at::Tensor x;    // the block's input
  at::Tensor mid;  // after attention and its residual
  at::Tensor attention_rstd, ffn_rstd;
  Attention::Saved attention;
  FeedForward::Saved feed_forward;

  int64_t bytes() const override {
    int64_t sum = 0;
    for (const at::Tensor& tensor :
         {x, mid, attention_rstd, ffn_rstd, attention.qkv, attention.attention.out,
          attention.attention.logsumexp, attention.x_amax, attention.out_amax, feed_forward.gate_up,
          feed_forward.x_amax, feed_forward.hidden_amax}) {
      if (tensor.defined()) sum += static_cast<int64_t>(tensor.nbytes());
    }
    return sum;
  }
};

TransformerBlock::TransformerBlock(const BlockConfig& config)
    : attention_(config.attention, kQkv, kWo),
      feed_forward_(kGateUp, kDown),
      attention_norm_eps_(config.attention_norm.eps),
      ffn_norm_eps_(config.ffn_norm.eps),
      recompute_(config.recompute) {}

Unit TransformerBlock::declare(const BlockConfig& config, const std::string& name) {
  return {.name = name,
          .parameters = {
              declare_norm(config.attention_norm, name + ".attention_norm"),
              declare_linears(config.attention.qkv, name + ".attention."),
              declare_linears(config.attention.wo, name + ".attention."),
              declare_norm(config.ffn_norm, name + ".ffn_norm"),
              declare_linears(config.feed_forward.gate_up, name + ".feed_forward."),
              declare_linears(config.feed_forward.down, name + ".feed_forward."),
          }};
}

at::Tensor TransformerBlock::forward(const StepContext& context, const Weights& weights,
                                     at::Tensor x, std::unique_ptr<Block::Saved>* saved) const {
  auto kept = std::make_unique<Kept>();
  ops::RmsNormResult norm = ops::rms_norm(x, weights[kAttentionNorm].compute, attention_norm_eps_);
  kept->mid = attention_.forward(context, weights, norm.y, x, kept->attention);
  kept->x = std::move(x);
  kept->attention_rstd = norm.rstd;
  if (saved == nullptr) kept->attention = {};

  norm = ops::rms_norm(kept->mid, weights[kFfnNorm].compute, ffn_norm_eps_);
  kept->ffn_rstd = norm.rstd;
  at::Tensor out = feed_forward_.forward(context, weights, norm.y, kept->mid, kept->feed_forward);

  if (recompute_ != Recompute::kNothing) kept->feed_forward.gate_up.reset();
  if (recompute_ == Recompute::kBlock) {
    auto input_only = std::make_unique<Kept>();
    input_only->x = kept->x;
    kept = std::move(input_only);
  }
  if (saved != nullptr) *saved = std::move(kept);
  return out;
}

void TransformerBlock::forward_kept(const StepContext& context, const Weights& weights,
                                    Kept& kept) const {
  if (!kept.mid.defined()) {
    ops::RmsNormResult norm =
        ops::rms_norm(kept.x, weights[kAttentionNorm].compute, attention_norm_eps_);
    kept.mid = attention_.forward(context, weights, norm.y, kept.x, kept.attention);
    kept.attention_rstd = norm.rstd;
  }
  if (!kept.feed_forward.gate_up.defined()) {
    ops::RmsNormResult norm = ops::rms_norm(kept.mid, weights[kFfnNorm].compute, ffn_norm_eps_);
    feed_forward_.forward_kept(context, weights, norm.y, kept.feed_forward);
    kept.ffn_rstd = norm.rstd;
  }
}

at::Tensor TransformerBlock::backward(const StepContext& context, const Weights& weights,
                                      const Gradients& gradients, at::Tensor dy,
                                      std::unique_ptr<Block::Saved> saved) const {
  Kept& kept = static_cast<Kept&>(*saved);
  forward_kept(context, weights, kept);

  // Feed-forward. The norm's backward makes the norm's output again on the way, for the weight.
  LinearGradient dgate_up =
      feed_forward_.backward(context, weights, gradients, dy, kept.feed_forward);
  at::Tensor dnorm = feed_forward_.backward_x(context, weights, dgate_up);
  at::Tensor normed;
  at::Tensor dmid =
      ops::rms_norm_backward(dnorm, kept.mid, weights[kFfnNorm].compute, kept.ffn_rstd, dy,
                             gradients[kFfnNorm], gradients.accumulate, &normed);
  dy.reset();
  dnorm.reset();
  kept.mid.reset();
  feed_forward_.backward_gate_up_weight(context, weights, gradients, dgate_up, normed,
                                        kept.feed_forward.x_amax);
  dgate_up = {};
  normed.reset();

  // Attention.
  const LinearGradient dqkv =
      attention_.backward(context, weights, gradients, dmid, kept.attention);
  dnorm = attention_.backward_x(context, weights, dqkv);
  at::Tensor dx =
      ops::rms_norm_backward(dnorm, kept.x, weights[kAttentionNorm].compute, kept.attention_rstd,
                             dmid, gradients[kAttentionNorm], gradients.accumulate, &normed);
  attention_.backward_qkv_weight(context, weights, gradients, dqkv, normed, kept.attention.x_amax);
  return dx;
}

}  // namespace titan
