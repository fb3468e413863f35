// LayerNorm without weight, and the backward of a sigmoid, with the float8 copies of what they
// produce: what stands before and after the linear that titan-bench float8_linear times. bf16 or
// fp32; computed in fp32 and rounded once; the copies are those of the rounded values, bit for bit.
//
// CUDA kernels on CUDA, plain ATen elsewhere. On CUDA tensors are contiguous and columns multiples
// of 16, at most 28672 in bf16 for the norm; rows too for column copies.
// Enqueues on the current stream. Throws titan::Error for wrong shapes.
#pragma once

#include "lib/float8/quantize.hpp"

namespace titan::float8 {

enum class WithCopy { kNone, kRow, kRowAndColumnAmax };

struct LayerNormResult {
  at::Tensor y;           // [T,K], if asked for
  RowCopy copy;           // of y, as asked for
  at::Tensor mean, rstd;  // fp32 [T]
};
LayerNormResult layer_norm(const at::Tensor& x, double eps, bool with_y, WithCopy with_copy);

// The column copy of y, made again from x, with the column_amax of the forward.
Float8Tensor layer_norm_columns(const at::Tensor& x, const at::Tensor& mean, const at::Tensor& rstd,
                                const at::Tensor& column_amax);

// dx = rstd · (dy − mean(dy) − ŷ · mean(dy · ŷ)), ŷ = (x − mean) · rstd.
at::Tensor layer_norm_backward(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& mean,
                               const at::Tensor& rstd);

// dx = dy · (1 − y) · y. Without a copy, and for rows of more than 28672 bf16 values on CUDA,
// ATen's own, which rounds in between.
struct SigmoidGradient {
  at::Tensor dx;
  RowCopy copy;
};
SigmoidGradient sigmoid_backward(const at::Tensor& dy, const at::Tensor& y, WithCopy with_copy);

// The same in plain ATen on any device. y of the norm from its mean and rstd.
namespace reference {
at::Tensor layer_norm(const at::Tensor& x, const at::Tensor& mean, const at::Tensor& rstd);
LayerNormResult layer_norm(const at::Tensor& x, double eps, bool with_y, WithCopy with_copy);
at::Tensor layer_norm_backward(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& mean,
                               const at::Tensor& rstd);
SigmoidGradient sigmoid_backward(const at::Tensor& dy, const at::Tensor& y, WithCopy with_copy);
}  // namespace reference

}  // namespace titan::float8
