// Token embedding: row tokens[t] of the weight for every token. Tensor-parallel ranks hold equal
// parts of the vocabulary.
#pragma once

#include "lib/model/declare.hpp"
#include "lib/model/module.hpp"

namespace titan {

class Embedding {
 public:
  explicit Embedding(const EmbeddingConfig& config) : vocab_size_(config.vocab_size) {}

  static Unit declare(const EmbeddingConfig& config, const TensorParallelRank& tp = {});

  // tokens: int32 [T], all tokens -> [T/tp, D]. Nothing is kept but the tokens, which the walk has.
  at::Tensor forward(const StepContext& context, const Weights& weights,
                     const at::Tensor& tokens) const;
  // dy: [T/tp, D].
  void backward(const StepContext& context, const Gradients& gradients, const at::Tensor& dy,
                const at::Tensor& tokens) const;

 private:
  int64_t first_row(const StepContext& context) const {
    return context.tp.rank() * (vocab_size_ / context.tp.size());
  }

  int64_t vocab_size_;
};

}  // namespace titan
