// Token embedding: row tokens[t] of the weight for every token. Tensor-parallel ranks hold equal
// parts of the vocabulary. So do, for their part, the ranks along dp_shard; where the tokens are
// few beside the vocabulary, they do not gather the table: each looks up its own rows for the
// tokens of all, and in backward adds up the gradients of all for its own rows.
#pragma once

#include "lib/model/declare.hpp"
#include "lib/model/module.hpp"

namespace titan {

class Embedding {
 public:
  explicit Embedding(const EmbeddingConfig& config) : vocab_size_(config.vocab_size) {}

  static Unit declare(const EmbeddingConfig& config, const TensorParallelRank& tp = {});

  // Rows [first, first + n) of the table, or of its gradient; and the ranks along dp_shard that
  // have others: this one alone where the table was gathered.
  struct Rows {
    at::Tensor tensor;  // [n, D]
    int64_t first = 0;
    Group others = {};
  };
  // tokens: int32 [T] -> [T/tp, D]. Nothing is kept but the tokens, which the walk has.
  at::Tensor forward(const StepContext& context, const Rows& table, const at::Tensor& tokens) const;
  // dy: [T, D].
  void backward(const Rows& gradient, bool accumulate, const at::Tensor& dy,
                const at::Tensor& tokens) const;

  // Whether so many ranks along dp_shard, each with so many tokens, exchange the outputs and their
  // gradients (bf16 both) instead of the `rows` of a table (bf16) and its gradient (fp32): where
  // that is cheaper and each rank has rows.
  static bool exchanges_outputs(int64_t rows, int64_t tokens, int64_t ranks) {
    const bool all_have_rows = shard_rows(rows, ranks, ranks - 1).count > 0;
    return ranks > 1 && all_have_rows && 4 * tokens * ranks < 6 * rows;
  }

 private:
  int64_t vocab_size_;
};

}  // namespace titan
