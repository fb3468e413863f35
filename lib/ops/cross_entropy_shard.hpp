// Softmax cross-entropy where the vocabulary's columns are cut among the ranks of a tensor-parallel
// group (loss parallel), so that no rank has whole logits. Without communication: the caller
// gathers what each rank's cross_entropy_statistics returns, in the same order on every rank, and
// gives all of it to the second step.
//
//   statistics[r] = {m, sum_j exp(logits[r,j] - m), the label's logit if it is here, else 0}, where
//                   m is the largest logit here, at least the lowest fp32
//   losses[r]     = log(sum_j exp(logits[r,j])) - the label's logit, over all shards
//
// logits[R,V] bf16 or fp32 (CPU only: fp64), contiguous, are the columns shard.first .. shard.first
// + V - 1 of the whole; labels[R] int32 are classes of the whole. Statistics and losses are fp32
// (fp64 for fp64). Label -100: loss 0, gradient 0, statistics of no logit. Any other label outside
// the whole vocabulary gives a NaN loss. All ranks compute the same bits of the losses. Enqueues on
// the current stream. Throws titan::Error for wrong shapes and dtypes.
#pragma once

#include <ATen/core/Tensor.h>

#include "lib/ops/vocabulary_shard.hpp"

namespace titan::ops {

// Returns [R,3].
at::Tensor cross_entropy_statistics(const at::Tensor& logits, const at::Tensor& labels,
                                    const VocabularyShard& shard);

// From all_statistics[shards,R,3]: writes losses[R] and replaces the logits by the gradient of
// sum(losses) * inverse_valid_tokens:
//   logits[r,j] <- (softmax[r,j] - (shard.first + j == labels[r])) * inverse_valid_tokens
// inverse_valid_tokens: one element of losses' dtype on the same device.
void cross_entropy_from_statistics_(at::Tensor logits, const at::Tensor& labels,
                                    const VocabularyShard& shard, const at::Tensor& all_statistics,
                                    const at::Tensor& inverse_valid_tokens, at::Tensor losses);

// The losses alone, for validation; `vocabulary` is the size of the whole.
void cross_entropy_losses(const at::Tensor& all_statistics, const at::Tensor& labels,
                          int64_t vocabulary, at::Tensor losses);

}  // namespace titan::ops
