#include "lib/model/pre_norm.hpp"

#include "lib/float8/fused.hpp"
#include "lib/model/token_parallel.hpp"
#include "lib/ops/rms_norm.hpp"

namespace titan {

LinearInput PreNorm::forward(const StepContext& context, const Weights& weights,
                             const at::Tensor& x, Saved& saved) const {
  const Weight& linear = weights[linear_];
  LinearInput input{{}, {}, x.scalar_type()};
  if (reads_only_copies(linear) && context.tp.size() == 1) {
    float8::RmsNormCopy norm =
        float8::rms_norm(x, weights[norm_].compute, eps_, wgrad_reads_only_copies(linear));
    input.copy = std::move(norm.y);
    saved.rstd = norm.rstd;
  } else {
    // Many ranks: copies are made of what was gathered, in high precision.
    ops::RmsNormResult norm = ops::rms_norm(x, weights[norm_].compute, eps_);
    input = linear_input(linear, gather_tokens(context, norm.y));
    if (reads_only_copies(linear)) input.x.reset();
    saved.rstd = norm.rstd;
  }
  saved.column_amax = input.copy.column_amax;
  return input;
}

PreNorm::Backward PreNorm::backward(const StepContext& context, const Weights& weights,
                                    const Gradients& gradients, const at::Tensor& dy,
                                    const at::Tensor& x, const Saved& saved,
                                    const at::Tensor& dresidual, const Weight* producer) const {
  const Weight& linear = weights[linear_];
  const at::Tensor& weight = weights[norm_].compute;
  const bool one_rank = context.tp.size() == 1;
  const bool columns_from_x = wgrad_reads_only_copies(linear) && one_rank;
  at::Tensor y;
  at::Tensor* y_again = columns_from_x ? nullptr : &y;
  Backward result;
  if (producer != nullptr && reads_only_copies(*producer) && one_rank) {
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
    result.y = wgrad_input(linear, gather_tokens(context, y), saved.column_amax);
    if (wgrad_reads_only_copies(linear)) result.y.x.reset();
  }
  return result;
}

}  // namespace titan
