#include "lib/model/pre_norm.hpp"

#include "lib/float8/fused.hpp"
#include "lib/model/token_parallel.hpp"
#include "lib/ops/rms_norm.hpp"

namespace titan {

LinearInput PreNorm::forward(const Weights& weights, const at::Tensor& x, Saved& saved) const {
  const Weight& linear = weights[linear_];
  LinearInput input{{}, {}, x.scalar_type()};
  if (reads_only_copies(linear)) {
    float8::RmsNormCopy norm =
        float8::rms_norm(x, weights[norm_].compute, eps_, wgrad_reads_only_copies(linear));
    input.copy = std::move(norm.y);
    saved.rstd = norm.rstd;
  } else {
    const ops::RmsNormResult norm = ops::rms_norm(x, weights[norm_].compute, eps_);
    input = linear_input(linear, norm.y);
    saved.rstd = norm.rstd;
  }
  saved.column_amax = input.copy.column_amax;
  return input;
}

at::Tensor PreNorm::forward_with_linear(const StepContext& context, const Weights& weights,
                                        const at::Tensor& x, Saved& saved) const {
  const Weight& linear = weights[linear_];
  if (context.tp.size() == 1) return linear_forward(context, linear, forward(weights, x, saved));
  // Copies are made of what has been gathered, in high precision.
  const ops::RmsNormResult norm = ops::rms_norm(x, weights[norm_].compute, eps_);
  saved.rstd = norm.rstd;
  saved.column_amax.reset();
  return linear_forward_gathered(context, linear, norm.y, saved.column_amax);
}

PreNorm::Backward PreNorm::backward(const Weights& weights, const Gradients& gradients,
                                    const at::Tensor& dy, const at::Tensor& x, const Saved& saved,
                                    const at::Tensor& dresidual, const Weight* producer) const {
  const Weight& linear = weights[linear_];
  const at::Tensor& weight = weights[norm_].compute;
  const bool columns_from_x = wgrad_reads_only_copies(linear);
  at::Tensor y;
  at::Tensor* y_again = columns_from_x ? nullptr : &y;
  Backward result;
  if (producer != nullptr && reads_only_copies(*producer)) {
    float8::GradientCopy gradient = float8::rms_norm_backward(
        dy, x, weight, saved.rstd, dresidual, gradients[norm_], gradients.accumulate, y_again,
        wgrad_reads_only_copies(*producer));
    result.dx = std::move(gradient.dx);
    result.copy = std::move(gradient.copy);
  } else {
    result.dx = ops::rms_norm_backward(dy, x, weight, saved.rstd, dresidual, gradients[norm_],
                                       gradients.accumulate, y_again);
  }
  if (columns_from_x) {
    result.y.column = float8::rms_norm_columns(x, weight, saved.rstd, saved.column_amax);
  } else {
    result.y = wgrad_input(linear, y, saved.column_amax);
  }
  return result;
}

PreNorm::WithLinear PreNorm::backward_with_linear(const StepContext& context,
                                                  const Weights& weights,
                                                  const Gradients& gradients, LinearGradient dy,
                                                  at::Tensor x, const Saved& saved,
                                                  at::Tensor dresidual,
                                                  const Weight* producer) const {
  if (context.tp.size() > 1) {
    return backward_on_many_ranks(context, weights, gradients, std::move(dy), std::move(x), saved,
                                  std::move(dresidual));
  }
  const Weight& linear = weights[linear_];
  at::Tensor dnorm = linear_backward_input(context, linear, dy);
  Backward norm = backward(weights, gradients, dnorm, x, saved, dresidual, producer);
  dnorm.reset();
  x.reset();
  dresidual.reset();
  linear_backward_weight(context, linear, dy, norm.y, gradients[linear_], gradients.accumulate);
  return {gather_gradient(context, std::move(norm.dx)), std::move(norm.copy)};
}

PreNorm::WithLinear PreNorm::backward_on_many_ranks(const StepContext& context,
                                                    const Weights& weights,
                                                    const Gradients& gradients, LinearGradient dy,
                                                    at::Tensor x, const Saved& saved,
                                                    at::Tensor dresidual) const {
  const Weight& linear = weights[linear_];
  const at::Tensor& weight = weights[norm_].compute;
  const auto weight_gradient = [&](const WgradInput& input, Rows rows) {
    linear_backward_weight(context, linear, dy, input, gradients[linear_], gradients.accumulate,
                           rows);
  };
  // Behind the input gradient's product: the gather of the norm's output.
  TokensOnTheWay y = start_gather_tokens(context, ops::rms_norm(x, weight, eps_).y);
  TokensOnTheWay dnorm = start_scatter_tokens(context, linear_backward_input(context, linear, dy));
  WgradInput input = wgrad_input(linear, y.wait(), saved.column_amax);
  if (wgrad_reads_only_copies(linear)) input.x.reset();
  // Behind half of the weight gradient: the sum that the norm waits for.
  weight_gradient(input, Rows::kFirstHalf);
  at::Tensor dx = ops::rms_norm_backward(dnorm.wait(), x, weight, saved.rstd, dresidual,
                                         gradients[norm_], gradients.accumulate, nullptr);
  x.reset();
  dresidual.reset();
  // Behind the other half: the gather of what the next products read.
  WithLinear result{gather_gradient(context, std::move(dx)), {}};
  weight_gradient(input, Rows::kSecondHalf);
  return result;
}

}  // namespace titan
