// Softmax cross-entropy of logits[R,V] against labels[R] (int32), row by row:
//   losses[r] = log(sum_j exp(logits[r,j])) - logits[r, labels[r]], unscaled
// Label -100: loss 0 and gradient 0. Any other label outside [0, V) reads nothing and gives a NaN
// loss, so that the step is seen as not finite. Logits bf16 or fp32 (CPU only: fp64), contiguous;
// losses[R] fp32 (fp64 for fp64). Computed in fp32 (fp64 for fp64). Enqueues on the current stream.
// Throws titan::Error for wrong shapes and dtypes.
#pragma once

#include <ATen/core/Tensor.h>

namespace titan::ops {

// Also replaces the logits by the gradient of sum(losses) * inverse_valid_tokens:
//   logits[r,j] <- (softmax(logits[r])[j] - (j == labels[r])) * inverse_valid_tokens
// inverse_valid_tokens: one element of losses' dtype on the same device, 1 / (valid tokens of the
// whole global batch).
void cross_entropy_(at::Tensor logits, const at::Tensor& labels,
                    const at::Tensor& inverse_valid_tokens, at::Tensor losses);

// The losses alone, for validation.
void cross_entropy_forward(const at::Tensor& logits, const at::Tensor& labels, at::Tensor losses);

}  // namespace titan::ops
