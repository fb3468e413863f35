#include "lib/model/head.hpp"

#include <ATen/ATen.h>

#include "lib/model/token_parallel.hpp"
#include "lib/ops/cross_entropy.hpp"
#include "lib/ops/cross_entropy_shard.hpp"
#include "lib/ops/rms_norm.hpp"

namespace titan {
namespace {

at::ScalarType loss_dtype(const at::Tensor& x) {
  return x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
}

// The labels of a chunk that has rows [first, first + rows) of every rank's tokens.
at::Tensor chunk_labels(const StepContext& context, const at::Tensor& labels, int64_t first,
                        int64_t rows) {
  return labels.view({context.tp.size(), -1}).narrow(1, first, rows).reshape({-1});
}

// [R, V/tp] on each rank -> [R, V].
at::Tensor whole_logits(const StepContext& context, const at::Tensor& logits) {
  if (context.tp.size() == 1) return logits;
  const at::Tensor parts = gather_rows(context.tp, logits);
  return parts.view({context.tp.size(), logits.size(0), logits.size(1)})
      .transpose(0, 1)
      .reshape({logits.size(0), -1});
}

}  // namespace

Unit Head::declare(const DecoderConfig& config, const TensorParallelRank& tp) {
  return {.name = "head",
          .parameters = {declare_norm(config.norm, "norm"), declare_linears(config.output, "", tp)},
          .backward_repeats_forward = true};
}

ops::VocabularyShard Head::shard(const StepContext& context) const {
  return {context.tp.rank() * (vocab_size_ / context.tp.size()), vocab_size_};
}

// Every rank learns what the others' parts of the vocabulary add up to, three numbers for a row.
at::Tensor Head::all_statistics(const StepContext& context, const at::Tensor& logits,
                                const at::Tensor& labels) const {
  const at::Tensor own = ops::cross_entropy_statistics(logits, labels, shard(context));
  at::Tensor all = at::empty({context.tp.size(), own.size(0), own.size(1)}, own.options());
  context.tp.all_gather(all.view({-1, own.size(1)}), own);
  return all;
}

void Head::losses_and_gradient_(const StepContext& context, at::Tensor logits,
                                const at::Tensor& labels, const at::Tensor& inverse_valid_tokens,
                                at::Tensor losses) const {
  if (context.tp.size() == 1) {
    ops::cross_entropy_(logits, labels, inverse_valid_tokens, losses);
  } else if (!context.loss_parallel) {
    const at::Tensor whole = whole_logits(context, logits);
    ops::cross_entropy_(whole, labels, inverse_valid_tokens, losses);
    logits.copy_(whole.narrow(1, shard(context).first, logits.size(1)));
  } else {
    ops::cross_entropy_from_statistics_(logits, labels, shard(context),
                                        all_statistics(context, logits, labels),
                                        inverse_valid_tokens, losses);
  }
}

Head::Result Head::forward_backward(const StepContext& context, const Weights& weights,
                                    const Gradients& gradients, const at::Tensor& x,
                                    const at::Tensor& labels,
                                    const at::Tensor& inverse_valid_tokens) const {
  ops::RmsNormResult norm = ops::rms_norm(x, weights[kNorm].compute, eps_);
  const int64_t ranks = context.tp.size();
  at::Tensor losses = at::empty({labels.size(0)}, x.options().dtype(loss_dtype(x)));
  at::Tensor dnorm = at::empty_like(norm.y);
  bool accumulate = gradients.accumulate;
  for (int64_t first = 0; first < x.size(0); first += chunk_rows_ / ranks) {
    const int64_t rows = std::min(chunk_rows_ / ranks, x.size(0) - first);
    const LinearInput input =
        linear_input(weights[kOutput], gather_tokens(context, norm.y.narrow(0, first, rows)));
    at::Tensor logits = linear_forward(context, weights[kOutput], input);
    losses_and_gradient_(context, logits, chunk_labels(context, labels, first, rows),
                         inverse_valid_tokens, losses.narrow(0, first * ranks, rows * ranks));
    const LinearGradient dlogits = linear_gradient(weights[kOutput], logits);
    linear_backward_weight(context, weights[kOutput], dlogits,
                           wgrad_input(weights[kOutput], input.x, input.copy.column_amax),
                           gradients[kOutput], accumulate);
    linear_backward_input_scattered(context, weights[kOutput], dlogits,
                                    dnorm.narrow(0, first, rows));
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
  const int64_t ranks = context.tp.size();
  at::Tensor losses = at::empty({labels.size(0)}, x.options().dtype(loss_dtype(x)));
  for (int64_t first = 0; first < x.size(0); first += chunk_rows_ / ranks) {
    const int64_t rows = std::min(chunk_rows_ / ranks, x.size(0) - first);
    const at::Tensor gathered = gather_tokens(context, normed.narrow(0, first, rows));
    at::Tensor logits =
        linear_forward(context, weights[kOutput], linear_input(weights[kOutput], gathered));
    const at::Tensor chunk = chunk_labels(context, labels, first, rows);
    const at::Tensor out = losses.narrow(0, first * ranks, rows * ranks);
    if (ranks == 1 || !context.loss_parallel) {
      ops::cross_entropy_forward(whole_logits(context, logits), chunk, out);
    } else {
      ops::cross_entropy_losses(all_statistics(context, logits, chunk), chunk, vocab_size_, out);
    }
  }
  return losses.sum() * inverse_valid_tokens;
}

at::Tensor Head::logits(const StepContext& context, const Weights& weights,
                        const at::Tensor& x) const {
  const at::Tensor normed =
      gather_tokens(context, ops::rms_norm(x, weights[kNorm].compute, eps_).y);
  return linear_forward(context, weights[kOutput], linear_input(weights[kOutput], normed));
}

}  // namespace titan
