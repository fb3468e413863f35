#include "lib/ops/cross_entropy_shard.hpp"

#include <ATen/ATen.h>

#include <limits>

#include "kernels/loss/ignored_label.hpp"
#include "lib/ops/device.hpp"
#include "lib/ops/element_type.hpp"

#if TITAN_CUDA
#include "kernels/loss/cross_entropy_shard.hpp"
#endif

namespace titan::ops {
namespace {

constexpr int64_t kStatistics = 3;

void check_shard(const char* op, const at::Tensor& logits, const at::Tensor& labels,
                 const VocabularyShard& shard) {
  TITAN_CHECK(logits.dim() == 2 && logits.is_contiguous() && labels.dim() == 1 &&
                  labels.scalar_type() == at::kInt && labels.is_contiguous() &&
                  labels.size(0) == logits.size(0),
              op, ": expected contiguous logits[R, V] and int32 labels[R], got logits",
              logits.sizes(), " ", logits.scalar_type(), ", labels", labels.sizes(), " ",
              labels.scalar_type());
  TITAN_CHECK(logits.size(1) > 0 && shard.first >= 0 && shard.first + logits.size(1) <= shard.whole,
              op, ": ", logits.size(1), " columns from ", shard.first,
              " on are no part of a vocabulary of ", shard.whole);
}

void check_losses(const char* op, const at::Tensor& all_statistics, const at::Tensor& labels,
                  const at::Tensor& losses) {
  TITAN_CHECK(all_statistics.dim() == 3 && all_statistics.is_contiguous() &&
                  all_statistics.size(0) > 0 && all_statistics.size(2) == kStatistics &&
                  labels.dim() == 1 && labels.scalar_type() == at::kInt && labels.is_contiguous() &&
                  labels.size(0) == all_statistics.size(1) && losses.sizes() == labels.sizes() &&
                  losses.is_contiguous() && losses.scalar_type() == all_statistics.scalar_type(),
              op, ": expected contiguous statistics[shards, R, 3], int32 labels[R] and losses[R] ",
              "in the statistics' dtype, got statistics", all_statistics.sizes(), " ",
              all_statistics.scalar_type(), ", labels", labels.sizes(), " ", labels.scalar_type(),
              ", losses", losses.sizes(), " ", losses.scalar_type());
}

#if TITAN_CUDA

at::Tensor statistics_cuda(const at::Tensor& logits, const at::Tensor& labels,
                           const VocabularyShard& shard) {
  at::Tensor statistics =
      at::empty({logits.size(0), kStatistics}, logits.options().dtype(at::kFloat));
  for_element_type("cross_entropy_statistics", logits, [&]<class T>() {
    kernels::cross_entropy_statistics<T>({.logits = elements<const T>(logits),
                                          .labels = elements<const int32_t>(labels),
                                          .statistics = elements<float>(statistics),
                                          .rows = logits.size(0),
                                          .columns = logits.size(1),
                                          .first = shard.first},
                                         current_stream());
  });
  return statistics;
}

kernels::CrossEntropyLosses losses_of(const at::Tensor& all_statistics, const at::Tensor& labels,
                                      int64_t vocabulary, const at::Tensor& losses) {
  return {.statistics = elements<const float>(all_statistics),
          .labels = elements<const int32_t>(labels),
          .losses = elements<float>(losses),
          .rows = labels.size(0),
          .shards = all_statistics.size(0),
          .vocabulary = vocabulary};
}

void gradient_cuda(const at::Tensor& logits, const VocabularyShard& shard,
                   const at::Tensor& inverse_valid_tokens,
                   const kernels::CrossEntropyLosses& losses) {
  for_element_type("cross_entropy_from_statistics_", logits, [&]<class T>() {
    kernels::cross_entropy_gradient<T>(
        {.losses = losses,
         .logits = elements<T>(logits),
         .inverse_valid_tokens = elements<const float>(inverse_valid_tokens),
         .columns = logits.size(1),
         .first = shard.first},
        current_stream());
  });
}

#endif

// Where the label of each row is, [R, 1].
struct Targets {
  at::Tensor here;    // among the shard's columns
  at::Tensor column;  // int64; 0 where it is not here
};

Targets find_targets(const at::Tensor& labels, int64_t columns, const VocabularyShard& shard) {
  const at::Tensor column = labels.to(at::kLong).sub_(shard.first).unsqueeze_(1);
  const at::Tensor here = (column >= 0).logical_and_(column < columns);
  return {here, column * here};
}

at::Tensor ignored_rows(const at::Tensor& labels) {
  return (labels == kernels::kIgnoredLabel).unsqueeze_(1);
}

// Of whole rows, [R, 1] each.
struct RowStatistics {
  at::Tensor maximum, sum, target;
};

RowStatistics combine(const at::Tensor& all_statistics) {
  const auto parts = all_statistics.split(1, 2);
  const at::Tensor maximum = parts[0].amax(0);
  return {maximum, (parts[1] * (parts[0] - maximum).exp_()).sum(0), parts[2].sum(0)};
}

void store_losses(const RowStatistics& rows, const at::Tensor& labels, int64_t vocabulary,
                  const at::Tensor& losses) {
  const at::Tensor invalid = (labels < 0).logical_or_(labels >= vocabulary);
  const at::Tensor loss = rows.sum.log() - (rows.target - rows.maximum);
  losses.copy_(loss.squeeze(1)
                   .masked_fill(invalid, std::numeric_limits<double>::quiet_NaN())
                   .masked_fill(labels == kernels::kIgnoredLabel, 0.0));
}

}  // namespace

at::Tensor cross_entropy_statistics(const at::Tensor& logits, const at::Tensor& labels,
                                    const VocabularyShard& shard) {
  check_shard("cross_entropy_statistics", logits, labels, shard);
#if TITAN_CUDA
  if (runs_kernels(logits)) return statistics_cuda(logits, labels, shard);
#endif
  constexpr float kLowest = std::numeric_limits<float>::lowest();
  const Targets targets = find_targets(labels, logits.size(1), shard);
  const at::Tensor x = logits.to(compute_type(logits));
  const at::Tensor maximum = x.amax(1, /*keepdim=*/true).clamp_min_(kLowest);
  const at::Tensor sum = (x - maximum).exp_().sum(1, /*keepdim=*/true);
  const at::Tensor target = x.gather(1, targets.column);
  const at::Tensor ignored = ignored_rows(labels);
  return at::cat({maximum.masked_fill(ignored, kLowest), sum.masked_fill(ignored, 0.0),
                  target.masked_fill(targets.here.logical_not(), 0.0)},
                 1);
}

void cross_entropy_from_statistics_(at::Tensor logits, const at::Tensor& labels,
                                    const VocabularyShard& shard, const at::Tensor& all_statistics,
                                    const at::Tensor& inverse_valid_tokens, at::Tensor losses) {
  check_shard("cross_entropy_from_statistics_", logits, labels, shard);
  check_losses("cross_entropy_from_statistics_", all_statistics, labels, losses);
  TITAN_CHECK(losses.scalar_type() == compute_type(logits) && inverse_valid_tokens.numel() == 1 &&
                  inverse_valid_tokens.scalar_type() == losses.scalar_type() &&
                  inverse_valid_tokens.device() == logits.device(),
              "cross_entropy_from_statistics_: losses and one inverse_valid_tokens must be ",
              compute_type(logits), " on the logits' device, got losses ", losses.scalar_type(),
              ", inverse_valid_tokens", inverse_valid_tokens.sizes(), " ",
              inverse_valid_tokens.scalar_type());
#if TITAN_CUDA
  if (runs_kernels(logits)) {
    return gradient_cuda(logits, shard, inverse_valid_tokens,
                         losses_of(all_statistics, labels, shard.whole, losses));
  }
#endif
  const RowStatistics rows = combine(all_statistics);
  store_losses(rows, labels, shard.whole, losses);
  const Targets targets = find_targets(labels, logits.size(1), shard);
  at::Tensor gradient = (logits.to(losses.scalar_type()) - rows.maximum).exp_().div_(rows.sum);
  gradient.scatter_add_(1, targets.column, -targets.here.to(gradient.scalar_type()));
  gradient.mul_(inverse_valid_tokens);
  logits.copy_(gradient.masked_fill_(ignored_rows(labels), 0.0));
}

void cross_entropy_losses(const at::Tensor& all_statistics, const at::Tensor& labels,
                          int64_t vocabulary, at::Tensor losses) {
  check_losses("cross_entropy_losses", all_statistics, labels, losses);
#if TITAN_CUDA
  if (runs_kernels(losses)) {
    TITAN_CHECK(losses.scalar_type() == at::kFloat,
                "cross_entropy_losses: the CUDA kernel takes fp32, got ", losses.scalar_type());
    return kernels::cross_entropy_losses(losses_of(all_statistics, labels, vocabulary, losses),
                                         current_stream());
  }
#endif
  store_losses(combine(all_statistics), labels, vocabulary, losses);
}

}  // namespace titan::ops
