#include "lib/model/attention.hpp"

#include "lib/model/token_parallel.hpp"
#include "lib/ops/rope.hpp"

namespace titan {

Attention::Attention(const AttentionConfig& config, size_t qkv, size_t wo)
    : heads_(config.heads),
      kv_heads_(config.kv_heads),
      head_dim_(config.head_dim),
      qkv_(qkv),
      wo_(wo) {}

ops::AttentionShape Attention::shape(const StepContext& context) const {
  const int64_t ranks = context.tp.size();
  return {context.batch, context.seq_len, heads_ / ranks, kv_heads_ / ranks, head_dim_};
}

at::Tensor Attention::forward(const StepContext& context, const Weights& weights, at::Tensor qkv,
                              const at::Tensor& residual, Saved& saved) const {
  saved.qkv = std::move(qkv);
  const ops::AttentionShape shape = this->shape(context);
  ops::rope_(saved.qkv, context.rope_table, shape.heads, shape.kv_heads, context.seq_len);
  saved.attention = ops::attention(saved.qkv, shape);
  const LinearInput out = linear_input(weights[wo_], saved.attention.out);
  saved.out_amax = out.copy.column_amax;
  return linear_forward_scattered(context, weights[wo_], out, residual);
}

LinearGradient Attention::backward(const StepContext& context, const Weights& weights,
                                   const Gradients& gradients, const at::Tensor& dy,
                                   const float8::RowCopy& dy_copy, Saved& saved) const {
  at::Tensor dout;
  {
    const LinearGradient gradient = linear_gradient(weights[wo_], dy, dy_copy);
    dout = linear_backward_input(context, weights[wo_], gradient);
    linear_backward_weight(context, weights[wo_], gradient,
                           wgrad_input(weights[wo_], saved.attention.out, saved.out_amax),
                           gradients[wo_], gradients.accumulate);
  }
  ops::AttentionGradients d =
      ops::attention_backward(dout, saved.qkv, saved.attention, shape(context));
  saved.qkv.reset();
  saved.attention = {};
  return linear_gradient(weights[qkv_], ops::rope_backward(d.dq, d.dk, d.dv, context.rope_table));
}

}  // namespace titan
