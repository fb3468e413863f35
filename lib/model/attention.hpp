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
    at::Tensor x_amax, out_amax;  // column amax of the inputs of qkv and wo; see linear.hpp
  };

  // x, residual: [T, D]. Returns residual + the projection, rounded once.
  at::Tensor forward(const StepContext& context, const Weights& weights, const at::Tensor& x,
                     const at::Tensor& residual, Saved& saved) const;

  // dy: gradient of the projection's output. Writes wo's gradient, frees `saved` but x_amax, and
  // returns the gradient of the packed qkv projection; backward_x and backward_qkv_weight follow
  // with it.
  LinearGradient backward(const StepContext& context, const Weights& weights,
                          const Gradients& gradients, const at::Tensor& dy, Saved& saved) const;
  at::Tensor backward_x(const StepContext& context, const Weights& weights,
                        const LinearGradient& dqkv) const;
  void backward_qkv_weight(const StepContext& context, const Weights& weights,
                           const Gradients& gradients, const LinearGradient& dqkv,
                           const at::Tensor& x, const at::Tensor& x_amax) const;

 private:
  ops::AttentionShape shape(const StepContext& context) const;

  int64_t heads_, kv_heads_, head_dim_;
  size_t qkv_, wo_;
};

}  // namespace titan
