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

at::Tensor Embedding::forward(const StepContext& context, const Rows& table,
                              const at::Tensor& tokens) const {
  // Of every token all ranks but one give zeros.
  const at::Tensor partial =
      ops::embedding(gather_rows(table.others, tokens), table.tensor, {table.first, vocab_size_});
  return scatter_tokens(context, scatter_rows(table.others, partial));
}

void Embedding::backward(const Rows& gradient, bool accumulate, const at::Tensor& dy,
                         const at::Tensor& tokens) const {
  ops::embedding_backward(gather_rows(gradient.others, dy), gather_rows(gradient.others, tokens),
                          gradient.tensor, accumulate, gradient.first);
}

}  // namespace titan
