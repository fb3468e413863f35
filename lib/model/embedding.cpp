#include "lib/model/embedding.hpp"

#include "lib/ops/embedding.hpp"

namespace titan {

Unit Embedding::declare(const EmbeddingConfig& config) {
  Parameter parameter;
  parameter.members = {{"tok_embeddings.weight", config.vocab_size, config.initializer}};
  parameter.shape = {config.vocab_size, config.dim};
  return {.name = "tok_embeddings", .parameters = {std::move(parameter)}};
}

at::Tensor Embedding::forward(const Weights& weights, const at::Tensor& tokens) const {
  return ops::embedding(tokens, weights[0].compute);
}

void Embedding::backward(const Gradients& gradients, const at::Tensor& dy,
                         const at::Tensor& tokens) const {
  ops::embedding_backward(dy, tokens, gradients[0], gradients.accumulate);
}

}  // namespace titan
