#include "lib/model/pre_norm.hpp"

#include "lib/float8/fused.hpp"
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

}  // namespace titan
