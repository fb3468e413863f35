// LayerNorm without weight, and the backward of a sigmoid, with the float8 copies of what they
// produce: what stands before and after the linear that titan-bench float8_linear times. bf16 or
// fp32; computed in fp32 and rounded once; the copies are those of the rounded values, bit for bit;
// `with_column_amax` as for copy_rows().
//
// CUDA kernels on CUDA, plain ATen elsewhere. On CUDA tensors are contiguous and columns multiples
// of 16, at most 28672 in bf16 for the norm; rows too for column copies.
// Enqueues on the current stream. Throws titan::Error for wrong shapes.
#pragma once

#include "lib/float8/quantize.hpp"

namespace titan::float8 {

struct LayerNormResult {
  at::Tensor y;           // [T,K]
  RowCopy copy;           // of y, where asked for
  at::Tensor mean, rstd;  // fp32 [T]
};
LayerNormResult layer_norm(const at::Tensor& x, double eps);

// The same with the copy of y, which itself stays undefined without `with_y`.
LayerNormResult layer_norm_copy(const at::Tensor& x, double eps, bool with_y,
                                bool with_column_amax);

// The column copy of y, made again from x, with the column_amax of the forward.
Float8Tensor layer_norm_columns(const at::Tensor& x, const at::Tensor& mean, const at::Tensor& rstd,
                                const at::Tensor& column_amax);

// dx = rstd · (dy − mean(dy) − ŷ · mean(dy · ŷ)), ŷ = (x − mean) · rstd.
at::Tensor layer_norm_backward(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& mean,
                               const at::Tensor& rstd);

// dx = dy · (1 − y) · y and its copy. For rows of more than 28672 bf16 values on CUDA, dx is ATen's
// own, which rounds in between.
struct SigmoidGradient {
  at::Tensor dx;
  RowCopy copy;
};
SigmoidGradient sigmoid_backward(const at::Tensor& dy, const at::Tensor& y, bool with_column_amax);

// The same in plain ATen on any device. y of the norm from its mean and rstd.
namespace reference {
at::Tensor layer_norm(const at::Tensor& x, const at::Tensor& mean, const at::Tensor& rstd);
LayerNormResult layer_norm(const at::Tensor& x, double eps);
LayerNormResult layer_norm_copy(const at::Tensor& x, double eps, bool with_y,
                                bool with_column_amax);
at::Tensor layer_norm_backward(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& mean,
                               const at::Tensor& rstd);
SigmoidGradient sigmoid_backward(const at::Tensor& dy, const at::Tensor& y, bool with_column_amax);
}  // namespace reference

}  // namespace titan::float8
