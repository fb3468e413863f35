#include "lib/model/feed_forward.hpp"

#include "lib/ops/swiglu.hpp"

namespace titan {

void FeedForward::forward_kept(const StepContext& context, const Weights& weights,
                               const at::Tensor& x, Saved& saved) const {
  saved.gate_up = linear_forward(context, weights[gate_up_], x, {}, &saved.x_amax);
}

at::Tensor FeedForward::forward(const StepContext& context, const Weights& weights,
                                const at::Tensor& x, const at::Tensor& residual,
                                Saved& saved) const {
  forward_kept(context, weights, x, saved);
  at::Tensor hidden = ops::swiglu(saved.gate_up);
  return linear_forward(context, weights[down_], hidden, residual, &saved.hidden_amax);
}

LinearGradient FeedForward::backward(const StepContext& context, const Weights& weights,
                                     const Gradients& gradients, const at::Tensor& dy,
                                     Saved& saved) const {
  at::Tensor dgate_up = std::move(saved.gate_up);
  const LinearGradient gradient = linear_gradient(weights[down_], dy);
  at::Tensor dhidden = linear_backward_input(context, weights[down_], gradient);
  ops::swiglu_backward_(dhidden, dgate_up);
  at::Tensor hidden = std::move(dhidden);  // made again over the gradient that it no longer needs
  linear_backward_weight(context, weights[down_], gradient, hidden, saved.hidden_amax,
                         gradients[down_], gradients.accumulate);
  hidden.reset();
  return linear_gradient(weights[gate_up_], dgate_up);
}

at::Tensor FeedForward::backward_x(const StepContext& context, const Weights& weights,
                                   const LinearGradient& dgate_up) const {
  return linear_backward_input(context, weights[gate_up_], dgate_up);
}

void FeedForward::backward_gate_up_weight(const StepContext& context, const Weights& weights,
                                          const Gradients& gradients,
                                          const LinearGradient& dgate_up, const at::Tensor& x,
                                          const at::Tensor& x_amax) const {
  linear_backward_weight(context, weights[gate_up_], dgate_up, x, x_amax, gradients[gate_up_],
                         gradients.accumulate);
}

}  // namespace titan
