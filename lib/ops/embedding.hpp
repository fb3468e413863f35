// Token embedding. tokens[T] int32; weight[V,D] and dx[T,D] bf16 or fp32 (CPU only: fp64),
// row-major and contiguous. Enqueues on the current stream. Throws titan::Error for wrong shapes
// and dtypes. A token outside [0, V) gives a row of NaN on CUDA and throws on the CPU; the data
// loader checks tokens.
#pragma once

#include <ATen/core/Tensor.h>

namespace titan::ops {

// Returns [T,D]: row t is weight[tokens[t]].
at::Tensor embedding(const at::Tensor& tokens, const at::Tensor& weight);

// dweight[V,D] = for each token the sum of dx over its positions, zero where it does not occur; or
// += that when `accumulate`. Summed in fp32 (fp64) in the order of the positions: the same inputs
// give the same bits. dweight is fp32, or has dx's dtype.
void embedding_backward(const at::Tensor& dx, const at::Tensor& tokens, at::Tensor dweight,
                        bool accumulate);

}  // namespace titan::ops
