// RMSNorm over the rows of x[T,D]: y = x · rstd · weight with rstd = 1 / sqrt(mean(x²) + eps).
// bf16 or fp32 (CPU only: fp64); weight has x's dtype. Computed in fp32 (fp64 for fp64) and rounded
// once, as torch.nn.functional.rms_norm does. On CUDA D is a multiple of 8 and at most 16384 in
// bf16 (4 and 8192 in fp32). Enqueues on the current stream. Throws titan::Error for wrong shapes.
#pragma once

#include <ATen/core/Tensor.h>

namespace titan::ops {

struct RmsNormResult {
  at::Tensor y;     // [T,D], x's dtype
  at::Tensor rstd;  // [T], fp32 (fp64 for fp64)
};

RmsNormResult rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps);

// Returns dx = rstd · (g − x̂ · mean(g · x̂)) + residual_gradient, where x̂ = x · rstd and
// g = dy · weight. residual_gradient[T,D] may be undefined. dweight[D], fp32 (fp64 for fp64),
// becomes the sum of dy · x̂ over the rows, or gains it when `accumulate`. When `y` is not null it
// receives the forward's output again, bit for bit.
at::Tensor rms_norm_backward(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& weight,
                             const at::Tensor& rstd, const at::Tensor& residual_gradient,
                             at::Tensor dweight, bool accumulate, at::Tensor* y);

// The same in plain ATen on any device: what runs on the CPU, and the oracle of the tests.
namespace reference {
RmsNormResult rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps);
at::Tensor rms_norm_backward(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& weight,
                             const at::Tensor& rstd, const at::Tensor& residual_gradient,
                             at::Tensor dweight, bool accumulate, at::Tensor* y);
}  // namespace reference

}  // namespace titan::ops
