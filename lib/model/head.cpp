#include "lib/model/head.hpp"

#include <ATen/ATen.h>

#include "lib/model/declare.hpp"
#include "lib/model/linear.hpp"
#include "lib/ops/cross_entropy.hpp"
#include "lib/ops/rms_norm.hpp"

namespace titan {
namespace {

at::ScalarType loss_dtype(const at::Tensor& x) {
  return x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
}

}  // namespace

Unit Head::declare(const DecoderConfig& config) {
  return {.name = "head",
          .parameters = {declare_norm(config.norm, "norm"), declare_linears(config.output, "")}};
}

Head::Result Head::forward_backward(const StepContext& context, const Weights& weights,
                                    const Gradients& gradients, const at::Tensor& x,
                                    const at::Tensor& labels,
                                    const at::Tensor& inverse_valid_tokens) const {
  ops::RmsNormResult norm = ops::rms_norm(x, weights[kNorm].compute, eps_);
  at::Tensor losses = at::empty({x.size(0)}, x.options().dtype(loss_dtype(x)));
  at::Tensor dnorm = at::empty_like(norm.y);
  bool accumulate = gradients.accumulate;
  for (int64_t first = 0; first < x.size(0); first += chunk_rows_) {
    const int64_t rows = std::min(chunk_rows_, x.size(0) - first);
    const LinearInput input = linear_input(weights[kOutput], norm.y.narrow(0, first, rows));
    at::Tensor logits = linear_forward(context, weights[kOutput], input);
    ops::cross_entropy_(logits, labels.narrow(0, first, rows), inverse_valid_tokens,
                        losses.narrow(0, first, rows));
    const LinearGradient dlogits = linear_gradient(weights[kOutput], logits);
    linear_backward_weight(context, weights[kOutput], dlogits,
                           wgrad_input(weights[kOutput], input.x, input.copy.column_amax),
                           gradients[kOutput], accumulate);
    linear_backward_input_out(context, weights[kOutput], dlogits, dnorm.narrow(0, first, rows));
    accumulate = true;
  }
  norm.y.reset();
  at::Tensor dx = ops::rms_norm_backward(dnorm, x, weights[kNorm].compute, norm.rstd, {},
                                         gradients[kNorm], gradients.accumulate, nullptr);
  return {losses.sum() * inverse_valid_tokens, dx};
}

at::Tensor Head::forward(const StepContext& context, const Weights& weights, const at::Tensor& x,
                         const at::Tensor& labels, const at::Tensor& inverse_valid_tokens) const {
  at::Tensor normed = ops::rms_norm(x, weights[kNorm].compute, eps_).y;
  at::Tensor losses = at::empty({x.size(0)}, x.options().dtype(loss_dtype(x)));
  for (int64_t first = 0; first < x.size(0); first += chunk_rows_) {
    const int64_t rows = std::min(chunk_rows_, x.size(0) - first);
    at::Tensor logits = linear_forward(
        context, weights[kOutput], linear_input(weights[kOutput], normed.narrow(0, first, rows)));
    ops::cross_entropy_forward(logits, labels.narrow(0, first, rows),
                               losses.narrow(0, first, rows));
  }
  return losses.sum() * inverse_valid_tokens;
}

at::Tensor Head::logits(const StepContext& context, const Weights& weights,
                        const at::Tensor& x) const {
  const at::Tensor normed = ops::rms_norm(x, weights[kNorm].compute, eps_).y;
  return linear_forward(context, weights[kOutput], linear_input(weights[kOutput], normed));
}

}  // namespace titan
