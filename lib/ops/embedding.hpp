// Token embedding, of a whole table or of a tensor-parallel shard of its rows. tokens[T] int32;
// weight[V,D] and dx[T,D] bf16 or fp32 (CPU only: fp64), row-major and contiguous. Enqueues on the
// current stream. Throws titan::Error for wrong shapes and dtypes. A token outside the whole
// vocabulary gives a row of NaN on CUDA and throws on the CPU, whatever the shard; the data loader
// checks tokens.
#pragma once

#include <ATen/core/Tensor.h>

#include "lib/ops/vocabulary_shard.hpp"

namespace titan::ops {

// Returns [T,D]: row t is weight[tokens[t] - shard.first], zero where the token's row is in another
// shard, so that the sum over all shards is the embedding.
at::Tensor embedding(const at::Tensor& tokens, const at::Tensor& weight,
                     const VocabularyShard& shard);

// Of a whole table: weight[tokens[t]].
at::Tensor embedding(const at::Tensor& tokens, const at::Tensor& weight);

// dweight[V,D] = for each token of its rows, from `first` on, the sum of dx over its positions,
// zero where it does not occur; or += that when `accumulate`. Other tokens are left out. Summed in
// fp32 (fp64) in the order of the positions: the same inputs give the same bits. dweight is fp32,
// or has dx's dtype.
void embedding_backward(const at::Tensor& dx, const at::Tensor& tokens, at::Tensor dweight,
                        bool accumulate, int64_t first = 0);

}  // namespace titan::ops
