// Token embedding: row tokens[t] of the weight for every token.
#pragma once

#include "lib/model/decoder_config.hpp"
#include "lib/model/module.hpp"

namespace titan {

class Embedding {
 public:
  static Unit declare(const EmbeddingConfig& config);

  // tokens: int32 [T] -> [T, D]. Nothing is kept but the tokens, which the walk has.
  at::Tensor forward(const Weights& weights, const at::Tensor& tokens) const;
  void backward(const Gradients& gradients, const at::Tensor& dy, const at::Tensor& tokens) const;
};

}  // namespace titan
