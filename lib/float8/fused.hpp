// RMSNorm, SwiGLU and their backwards (lib/ops/rms_norm.hpp, swiglu.hpp) with the float8 copies of
// what they produce. Bit for bit the op followed by the copy: values are rounded to their dtype
// before the amax and the cast. `with_column_amax` as for copy_rows().
//
// CUDA kernels on CUDA, the separate ops elsewhere. On CUDA tensors are contiguous, D and F
// multiples of 16, T too for column copies. Enqueues on the current stream. Throws titan::Error for
// wrong shapes.
#pragma once

#include "lib/float8/quantize.hpp"

namespace titan::float8 {

// y = rms_norm(x, weight), which is not kept itself.
struct RmsNormCopy {
  RowCopy y;
  at::Tensor rstd;  // fp32 [T]
};
RmsNormCopy rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps,
                     bool with_column_amax);

// The column copy of y, made again from x, with the column_amax of the forward.
Float8Tensor rms_norm_columns(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& rstd,
                              const at::Tensor& column_amax);

// As ops::rms_norm_backward, with a residual_gradient, and dx copied.
struct GradientCopy {
  at::Tensor dx;
  RowCopy copy;
};
GradientCopy rms_norm_backward(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& weight,
                               const at::Tensor& rstd, const at::Tensor& residual_gradient,
                               at::Tensor dweight, bool accumulate, at::Tensor* y,
                               bool with_column_amax);

// h = swiglu(gate_up), which is not kept itself.
RowCopy swiglu(const at::Tensor& gate_up, bool with_column_amax);

// The column copy of h, made again from gate_up, with the column_amax of the forward.
Float8Tensor swiglu_columns(const at::Tensor& gate_up, const at::Tensor& column_amax);

// As ops::swiglu_backward_: gate_up[T, 2F] becomes its gradient, whose row copy is returned. dh
// becomes h again when `restore_h`; otherwise its values are lost.
RowCopy swiglu_backward_(at::Tensor dh, at::Tensor gate_up, bool restore_h, bool with_column_amax);

// The op, then the copy: what runs on the CPU, and the oracle of the tests on any device.
namespace unfused {
RmsNormCopy rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps,
                     bool with_column_amax);
Float8Tensor rms_norm_columns(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& rstd,
                              const at::Tensor& column_amax);
GradientCopy rms_norm_backward(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& weight,
                               const at::Tensor& rstd, const at::Tensor& residual_gradient,
                               at::Tensor dweight, bool accumulate, at::Tensor* y,
                               bool with_column_amax);
RowCopy swiglu(const at::Tensor& gate_up, bool with_column_amax);
Float8Tensor swiglu_columns(const at::Tensor& gate_up, const at::Tensor& column_amax);
RowCopy swiglu_backward_(at::Tensor dh, at::Tensor gate_up, bool with_column_amax);
}  // namespace unfused

}  // namespace titan::float8
