// The three products of a linear group, in the precision of each of its runs: members of equal
// precision that lie side by side are one product, in bf16 (fp32 on the CPU) or in float8.
#pragma once

#include "lib/model/module.hpp"

namespace titan {

// y[T,N] = x[T,K] · Wᵀ (+ residual, added before the rounding).
at::Tensor linear_forward(const StepContext& context, const Weight& weight, const at::Tensor& x,
                          const at::Tensor& residual = {});

// dx[T,K] = dy[T,N] · W.
at::Tensor linear_backward_input(const StepContext& context, const Weight& weight,
                                 const at::Tensor& dy);
void linear_backward_input_out(const StepContext& context, const Weight& weight,
                               const at::Tensor& dy, at::Tensor dx);

// dweight[N,K] = dyᵀ · x, or += when `accumulate`.
void linear_backward_weight(const StepContext& context, const Weight& weight, const at::Tensor& dy,
                            const at::Tensor& x, at::Tensor dweight, bool accumulate);

}  // namespace titan
