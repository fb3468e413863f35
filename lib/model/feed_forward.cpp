#include "lib/model/feed_forward.hpp"

#include "lib/float8/fused.hpp"
#include "lib/model/token_parallel.hpp"
#include "lib/ops/swiglu.hpp"

namespace titan {
namespace {

// What down reads. In float8 throughout, the SwiGLU's output is never in memory.
LinearInput hidden_input(const Weight& down, const at::Tensor& gate_up) {
  if (!reads_only_copies(down)) return linear_input(down, ops::swiglu(gate_up));
  return {{}, float8::swiglu(gate_up, wgrad_reads_only_copies(down)), gate_up.scalar_type()};
}

}  // namespace

at::Tensor FeedForward::forward(const StepContext& context, const Weights& weights,
                                at::Tensor gate_up, const at::Tensor& residual,
                                Saved& saved) const {
  saved.gate_up = std::move(gate_up);
  const LinearInput hidden = hidden_input(weights[down_], saved.gate_up);
  saved.hidden_amax = hidden.copy.column_amax;
  return linear_forward_scattered(context, weights[down_], hidden, residual);
}

LinearGradient FeedForward::backward(const StepContext& context, const Weights& weights,
                                     const Gradients& gradients, const at::Tensor& dy,
                                     Saved& saved) const {
  const Weight &gate_up = weights[gate_up_], &down = weights[down_];
  at::Tensor dgate_up = std::move(saved.gate_up);  // becomes the gradient below
  at::Tensor dhidden;
  float8::RowCopy copy;
  const auto swiglu_backward = [&](bool restore_hidden) {
    if (reads_only_copies(gate_up)) {
      copy = float8::swiglu_backward_(dhidden, dgate_up, restore_hidden,
                                      wgrad_reads_only_copies(gate_up));
    } else {
      ops::swiglu_backward_(dhidden, dgate_up);
    }
  };
  const auto down_weight = [&](const LinearGradient& gradient, const WgradInput& hidden) {
    linear_backward_weight(context, down, gradient, hidden, gradients[down_], gradients.accumulate);
  };

  LinearGradient gradient = linear_gradient(down, dy);
  if (wgrad_reads_only_copies(down)) {
    down_weight(gradient, {{}, float8::swiglu_columns(dgate_up, saved.hidden_amax)});
    dhidden = linear_backward_input(context, down, gradient);
    gradient = {};
    swiglu_backward(/*restore_hidden=*/false);
  } else {
    dhidden = linear_backward_input(context, down, gradient);
    swiglu_backward(/*restore_hidden=*/true);
    down_weight(gradient, wgrad_input(down, dhidden, saved.hidden_amax));
  }
  dhidden.reset();
  return linear_gradient(gate_up, dgate_up, copy);
}

}  // namespace titan
