// The three products of a linear group, in the precision of each of its runs: members of equal
// precision that lie side by side are one product, in bf16 (fp32 on the CPU) or in float8.
//
// In float8 every operand is quantised once: the input as a row copy for forward, which takes the
// column amax in passing, and as a column copy in backward, which with that amax reads it once; the
// output's gradient as both copies by linear_gradient(); the weight's copies come with the Weight.
#pragma once

#include "lib/float8/quantize.hpp"
#include "lib/model/module.hpp"

namespace titan {

// y[T,N] = x[T,K] · Wᵀ (+ residual, added before the rounding). `column_amax`, where not null,
// receives fp32 [K] for linear_backward_weight if a run will need it.
at::Tensor linear_forward(const StepContext& context, const Weight& weight, const at::Tensor& x,
                          const at::Tensor& residual = {}, at::Tensor* column_amax = nullptr);

// The gradient of y with the copies that dgrad and wgrad want, by run; empty where a run wants
// none.
struct LinearGradient {
  at::Tensor dy;  // [T,N]
  std::vector<float8::Float8Copies> copies;
};
LinearGradient linear_gradient(const Weight& weight, const at::Tensor& dy);

// dx[T,K] = dy · W.
at::Tensor linear_backward_input(const StepContext& context, const Weight& weight,
                                 const LinearGradient& gradient);
void linear_backward_input_out(const StepContext& context, const Weight& weight,
                               const LinearGradient& gradient, at::Tensor dx);

// dweight[N,K] = dyᵀ · x, or += when `accumulate`. column_amax: what linear_forward gave for the
// same values of x, or undefined.
void linear_backward_weight(const StepContext& context, const Weight& weight,
                            const LinearGradient& gradient, const at::Tensor& x,
                            const at::Tensor& column_amax, at::Tensor dweight, bool accumulate);

}  // namespace titan
