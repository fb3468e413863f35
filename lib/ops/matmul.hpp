// The three matrix products of a linear layer. Row-major, last dimension contiguous; leading
// dimensions are flattened by the caller. fp32, bf16 or (CPU only) fp64; products are accumulated
// in fp32 (fp64 for fp64) and rounded once. On CUDA through cuBLASLt plans, on the CPU through
// ATen.
#pragma once

#include "lib/ops/device.hpp"

namespace titan::ops {

// y[M,N] = x[M,K] · weight[N,K]ᵀ (+ residual[M,N], added before the one rounding).
at::Tensor linear_forward(const Device& device, const at::Tensor& x, const at::Tensor& weight,
                          const at::Tensor& residual = {});

// The same into `y`, which may be a column slice of a wider tensor, as may the residual.
void linear_forward_out(const Device& device, const at::Tensor& x, const at::Tensor& weight,
                        at::Tensor y, const at::Tensor& residual = {});

// dx[M,K] = dy[M,N] · weight[N,K].
at::Tensor linear_backward_input(const Device& device, const at::Tensor& dy,
                                 const at::Tensor& weight);
// The same into dx, (+ addend, which may be dx itself).
void linear_backward_input_out(const Device& device, const at::Tensor& dy, const at::Tensor& weight,
                               at::Tensor dx, const at::Tensor& addend = {});

// dweight[N,K] = dy[M,N]ᵀ · x[M,K], or += when `accumulate`. dweight is fp32, or has x's dtype.
void linear_backward_weight(const Device& device, const at::Tensor& dy, const at::Tensor& x,
                            at::Tensor dweight, bool accumulate);

}  // namespace titan::ops
