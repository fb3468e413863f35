// The head: final norm, output projection and cross-entropy in one, over chunks of rows, so that
// the logits never exist whole. Tensor-parallel ranks have equal parts of the vocabulary; a chunk
// takes the same rows of every rank's tokens (loss parallel). Labels of -100 do not count. The loss
// is the sum of the rows' losses times inverse_valid_tokens (1 / valid tokens of the global batch),
// as upstream.
#pragma once

#include "lib/model/declare.hpp"
#include "lib/model/module.hpp"
#include "lib/ops/vocabulary_shard.hpp"

namespace titan {

class Head {
 public:
  // Rows of logits that exist at a time. Every chunk reads and writes the fp32 gradient of the
  // output matrix once, so chunks are large; at 128256 entries this is 2.1 GB of bf16 logits.
  static constexpr int64_t kChunkRows = 8192;

  explicit Head(const DecoderConfig& config, int64_t chunk_rows = kChunkRows)
      : eps_(config.norm.eps), vocab_size_(config.output.out_features()), chunk_rows_(chunk_rows) {}

  static Unit declare(const DecoderConfig& config, const TensorParallelRank& tp = {});

  struct Result {
    at::Tensor loss;  // scalar, fp32
    at::Tensor dx;    // [T/tp, D]
  };
  // x: [T/tp, D]; labels: int32 [T]; inverse_valid_tokens: fp32 scalar on the device.
  Result forward_backward(const StepContext& context, const Weights& weights,
                          const Gradients& gradients, const at::Tensor& x, const at::Tensor& labels,
                          const at::Tensor& inverse_valid_tokens) const;
  at::Tensor forward(const StepContext& context, const Weights& weights, const at::Tensor& x,
                     const at::Tensor& labels, const at::Tensor& inverse_valid_tokens) const;
  // [T, V/tp], for comparisons with other implementations.
  at::Tensor logits(const StepContext& context, const Weights& weights, const at::Tensor& x) const;

 private:
  enum Index : size_t { kNorm, kOutput };

  ops::VocabularyShard shard(const StepContext& context) const;
  at::Tensor all_statistics(const StepContext& context, const at::Tensor& logits,
                            const at::Tensor& labels) const;
  void losses_and_gradient_(const StepContext& context, at::Tensor logits, const at::Tensor& labels,
                            const at::Tensor& inverse_valid_tokens, at::Tensor losses) const;

  double eps_;
  int64_t vocab_size_;
  int64_t chunk_rows_;
};

}  // namespace titan
