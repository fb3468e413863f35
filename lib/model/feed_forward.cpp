#include "lib/model/feed_forward.hpp"

#include "lib/model/linear.hpp"
#include "lib/ops/swiglu.hpp"

namespace titan {

void FeedForward::forward_kept(const StepContext& context, const Weights& weights,
                               const at::Tensor& x, Saved& saved) const {
  saved.gate_up = linear_forward(context, weights[gate_up_], x);
}

at::Tensor FeedForward::forward(const StepContext& context, const Weights& weights,
                                const at::Tensor& x, const at::Tensor& residual,
                                Saved& saved) const {
  forward_kept(context, weights, x, saved);
  at::Tensor hidden = ops::swiglu(saved.gate_up);
  return linear_forward(context, weights[down_], hidden, residual);
}

at::Tensor FeedForward::backward(const StepContext& context, const Weights& weights,
                                 const Gradients& gradients, const at::Tensor& dy,
                                 Saved& saved) const {
  at::Tensor dgate_up = std::move(saved.gate_up);
  at::Tensor dhidden = linear_backward_input(context, weights[down_], dy);
  ops::swiglu_backward_(dhidden, dgate_up);
  at::Tensor hidden = std::move(dhidden);  // made again over the gradient that it no longer needs
  linear_backward_weight(context, weights[down_], dy, hidden, gradients[down_],
                         gradients.accumulate);
  return dgate_up;
}

at::Tensor FeedForward::backward_x(const StepContext& context, const Weights& weights,
                                   const at::Tensor& dgate_up) const {
  return linear_backward_input(context, weights[gate_up_], dgate_up);
}

void FeedForward::backward_gate_up_weight(const StepContext& context, const Weights& weights,
                                          const Gradients& gradients, const at::Tensor& dgate_up,
                                          const at::Tensor& x) const {
  linear_backward_weight(context, weights[gate_up_], dgate_up, x, gradients[gate_up_],
                         gradients.accumulate);
}

}  // namespace titan
