// Grouped-query attention with rotary positions: residual + wo(attention(rope(wqkv · x))).
#pragma once

#include "lib/model/decoder_config.hpp"
#include "lib/model/linear.hpp"
#include "lib/ops/attention.hpp"

namespace titan {

class Attention {
 public:
  // Parameters `qkv` and `wo` by their index in the block's unit.
  Attention(const AttentionConfig& config, size_t qkv, size_t wo);

  struct Saved {
    at::Tensor qkv;  // [T, (H + 2*KV) * head_dim], q and k rotated
    ops::AttentionSaved attention;
    at::Tensor out_amax;  // column amax of wo's input; see linear.hpp
  };

  // qkv: [T, (H + 2*KV) * head_dim] of the heads of this rank, taken over; residual: [T/tp, D].
  // Returns residual + the projection.
  at::Tensor forward(const StepContext& context, const Weights& weights, at::Tensor qkv,
                     const at::Tensor& residual, Saved& saved) const;

  // dy: [T, D], gradient of the projection's output, dy_copy as for linear_gradient. Writes wo's
  // gradient, frees `saved`, and returns the gradient of the packed qkv projection.
  LinearGradient backward(const StepContext& context, const Weights& weights,
                          const Gradients& gradients, const at::Tensor& dy,
                          const float8::RowCopy& dy_copy, Saved& saved) const;

 private:
  ops::AttentionShape shape(const StepContext& context) const;

  int64_t heads_, kv_heads_, head_dim_;
  size_t qkv_, wo_;
};

}  // namespace titan
