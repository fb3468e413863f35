#include "lib/model/feed_forward.hpp"

#include "lib/ops/matmul.hpp"
#include "lib/ops/swiglu.hpp"

namespace titan {

void FeedForward::forward_kept(const StepContext& context, const Weights& weights,
                               const at::Tensor& x, Saved& saved) const {
  saved.gate_up = ops::linear_forward(context.device, x, weights[gate_up_]);
}

at::Tensor FeedForward::forward(const StepContext& context, const Weights& weights,
                                const at::Tensor& x, const at::Tensor& residual,
                                Saved& saved) const {
  forward_kept(context, weights, x, saved);
  at::Tensor hidden = ops::swiglu(saved.gate_up);
  return ops::linear_forward(context.device, hidden, weights[down_], residual);
}

at::Tensor FeedForward::backward(const StepContext& context, const Weights& weights,
                                 const Gradients& gradients, const at::Tensor& dy,
                                 Saved& saved) const {
  at::Tensor dgate_up = std::move(saved.gate_up);
  at::Tensor dhidden = ops::linear_backward_input(context.device, dy, weights[down_]);
  ops::swiglu_backward_(dhidden, dgate_up);
  at::Tensor hidden = std::move(dhidden);  // made again over the gradient that it no longer needs
  ops::linear_backward_weight(context.device, dy, hidden, gradients[down_], gradients.accumulate);
  return dgate_up;
}

at::Tensor FeedForward::backward_x(const StepContext& context, const Weights& weights,
                                   const at::Tensor& dgate_up) const {
  return ops::linear_backward_input(context.device, dgate_up, weights[gate_up_]);
}

void FeedForward::backward_gate_up_weight(const StepContext& context, const Gradients& gradients,
                                          const at::Tensor& dgate_up, const at::Tensor& x) const {
  ops::linear_backward_weight(context.device, dgate_up, x, gradients[gate_up_],
                              gradients.accumulate);
}

}  // namespace titan
