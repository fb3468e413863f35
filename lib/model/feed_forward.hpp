// SwiGLU feed-forward: residual + w2 · (silu(w1 · x) * w3 · x).
#pragma once

#include "lib/model/decoder_config.hpp"
#include "lib/model/linear.hpp"

namespace titan {

class FeedForward {
 public:
  // Parameters `gate_up` and `down` by their index in the block's unit.
  FeedForward(size_t gate_up, size_t down) : gate_up_(gate_up), down_(down) {}

  struct Saved {
    at::Tensor gate_up;      // [T, 2F], gate | up
    at::Tensor hidden_amax;  // column amax of down's input; see linear.hpp
  };

  // gate_up: [T, 2F] of the hidden units of this rank, taken over; residual: [T/tp, D]. Returns
  // residual + the projection.
  at::Tensor forward(const StepContext& context, const Weights& weights, at::Tensor gate_up,
                     const at::Tensor& residual, Saved& saved) const;

  // dy: [T, D], gradient of the projection's output. Writes w2's gradient and returns the gradient
  // of the gate and up product (in saved's memory).
  LinearGradient backward(const StepContext& context, const Weights& weights,
                          const Gradients& gradients, const at::Tensor& dy, Saved& saved) const;

 private:
  size_t gate_up_, down_;
};

}  // namespace titan
