#include "lib/model/embedding.hpp"

#include "lib/model/token_parallel.hpp"
#include "lib/ops/embedding.hpp"

namespace titan {

Unit Embedding::declare(const EmbeddingConfig& config, const TensorParallelRank& tp) {
  Parameter parameter;
  parameter.members = {declare_member("tok_embeddings.weight", config.vocab_size, config.dim,
                                      config.initializer, TensorParallelRole::kColumn, tp)};
  parameter.shape = {parameter.members[0].rows, config.dim};
  return {.name = "tok_embeddings", .parameters = {std::move(parameter)}};
}

at::Tensor Embedding::forward(const StepContext& context, const Weights& weights,
                              const at::Tensor& tokens) const {
  return scatter_tokens(
      context, ops::embedding(tokens, weights[0].compute, {first_row(context), vocab_size_}));
}

void Embedding::backward(const StepContext& context, const Gradients& gradients,
                         const at::Tensor& dy, const at::Tensor& tokens) const {
  ops::embedding_backward(gather_tokens(context, dy), tokens, gradients[0], gradients.accumulate,
                          first_row(context));
}

}  // namespace titan
