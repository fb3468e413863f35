#include "lib/ops/cross_entropy.hpp"

#include <ATen/ATen.h>

#include "kernels/loss/ignored_label.hpp"
#include "lib/ops/device.hpp"
#include "lib/ops/element_type.hpp"

#if TITAN_CUDA
#include "kernels/loss/cross_entropy.hpp"
#endif

namespace titan::ops {
namespace {

void check(const char* op, const at::Tensor& logits, const at::Tensor& labels,
           const at::Tensor& losses) {
  TITAN_CHECK(logits.dim() == 2 && logits.is_contiguous() && labels.dim() == 1 &&
                  labels.scalar_type() == at::kInt && labels.is_contiguous() &&
                  labels.size(0) == logits.size(0) && losses.sizes() == labels.sizes() &&
                  losses.is_contiguous() && losses.scalar_type() == compute_type(logits),
              op, ": expected contiguous logits[R, V], int32 labels[R] and losses[R] in ",
              compute_type(logits), ", got logits", logits.sizes(), " ", logits.scalar_type(),
              ", labels", labels.sizes(), " ", labels.scalar_type(), ", losses", losses.sizes(),
              " ", losses.scalar_type());
}

#if TITAN_CUDA

// Without inverse_valid_tokens the logits are only read.
void run_cuda(const char* op, const at::Tensor& logits, const at::Tensor& labels,
              const at::Tensor& inverse_valid_tokens, const at::Tensor& losses) {
  for_element_type(op, logits, [&]<class T>() {
    kernels::cross_entropy<T>({.logits = elements<T>(logits),
                               .labels = elements<const int32_t>(labels),
                               .inverse_valid_tokens = elements<const float>(inverse_valid_tokens),
                               .losses = elements<float>(losses),
                               .rows = logits.size(0),
                               .vocabulary = logits.size(1)},
                              current_stream());
  });
}

#endif

struct Labels {
  at::Tensor counted;  // not ignored
  at::Tensor in_range;
  at::Tensor column;  // int64 [R, 1]; 0 where the label is not in range
};

Labels classify(const at::Tensor& labels, int64_t vocabulary) {
  const at::Tensor in_range = (labels >= 0).logical_and(labels < vocabulary);
  return {labels != kernels::kIgnoredLabel, in_range,
          labels.to(at::kLong).mul(in_range).unsqueeze(1)};
}

void store_losses(const at::Tensor& log_probabilities, const Labels& labels, at::Tensor losses) {
  const at::Tensor loss = -log_probabilities.gather(1, labels.column).squeeze(1);
  const double nan = std::numeric_limits<double>::quiet_NaN();
  losses.copy_(loss.masked_fill(labels.in_range.logical_not(), nan)
                   .masked_fill(labels.counted.logical_not(), 0.0));
}

}  // namespace

void cross_entropy_(at::Tensor logits, const at::Tensor& labels,
                    const at::Tensor& inverse_valid_tokens, at::Tensor losses) {
  check("cross_entropy_", logits, labels, losses);
  TITAN_CHECK(inverse_valid_tokens.numel() == 1 &&
                  inverse_valid_tokens.scalar_type() == losses.scalar_type() &&
                  inverse_valid_tokens.device() == logits.device(),
              "cross_entropy_: inverse_valid_tokens must be one ", losses.scalar_type(),
              " on the logits' device, got ", inverse_valid_tokens.sizes(), " ",
              inverse_valid_tokens.scalar_type());
#if TITAN_CUDA
  if (runs_kernels(logits)) {
    return run_cuda("cross_entropy_", logits, labels, inverse_valid_tokens, losses);
  }
#endif
  const Labels rows = classify(labels, logits.size(1));
  at::Tensor gradient = at::log_softmax(logits.to(compute_type(logits)), 1);
  store_losses(gradient, rows, losses);
  gradient.exp_();
  gradient.scatter_add_(1, rows.column, -rows.in_range.unsqueeze(1).to(gradient.scalar_type()));
  gradient.mul_(inverse_valid_tokens);
  logits.copy_(gradient.masked_fill_(rows.counted.logical_not().unsqueeze(1), 0.0));
}

void cross_entropy_forward(const at::Tensor& logits, const at::Tensor& labels, at::Tensor losses) {
  check("cross_entropy_forward", logits, labels, losses);
#if TITAN_CUDA
  if (runs_kernels(logits)) return run_cuda("cross_entropy_forward", logits, labels, {}, losses);
#endif
  store_losses(at::log_softmax(logits.to(compute_type(logits)), 1),
               classify(labels, logits.size(1)), losses);
}

}  // namespace titan::ops
