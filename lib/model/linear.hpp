// The three products of a linear group, in the precision of each of its runs: members of equal
// precision that lie side by side are one product, in bf16 (fp32 on the CPU) or in float8.
//
// In float8 every operand is quantized once: the input as a row copy for forward, which takes the
// column amax in passing, and as a column copy in backward, which with that amax reads it once; the
// output's gradient as both copies; the weight's copies come with the Weight. Where a group runs in
// float8 throughout, the op before it may write the copies itself (pre_norm.hpp, feed_forward.cpp);
// the functions below make them from the tensor.
#pragma once

#include "lib/float8/quantize.hpp"
#include "lib/model/module.hpp"

namespace titan {

// Whether all products of the group read float8 copies alone: forward and dgrad, wgrad too.
bool reads_only_copies(const Weight& weight);
bool wgrad_reads_only_copies(const Weight& weight);

// What forward reads.
struct LinearInput {
  at::Tensor x;  // [T,K]; may be undefined where reads_only_copies()
  float8::RowCopy
      copy;  // the row copy where a run is in float8; the column amax where its wgrad is
  at::ScalarType dtype;  // of the output
};
LinearInput linear_input(const Weight& weight, const at::Tensor& x);
// Some of the tokens of an input.
LinearInput narrow_tokens(const LinearInput& input, int64_t first, int64_t count);

// y[T,N] = x[T,K] · Wᵀ (+ residual, added before the rounding).
at::Tensor linear_forward(const StepContext& context, const Weight& weight,
                          const LinearInput& input, const at::Tensor& residual = {});
void linear_forward_out(const StepContext& context, const Weight& weight, const LinearInput& input,
                        at::Tensor y, const at::Tensor& residual = {});

// The gradient of y with the copies that dgrad and wgrad want, by run; empty where a run wants
// none.
struct LinearGradient {
  at::Tensor dy;  // [T,N]
  std::vector<float8::Float8Copies> copies;
};
// `copy`: dy's row copy and column amax if the op that made dy wrote them; reads_only_copies().
LinearGradient linear_gradient(const Weight& weight, const at::Tensor& dy,
                               const float8::RowCopy& copy = {});

// dx[T,K] = dy · W.
at::Tensor linear_backward_input(const StepContext& context, const Weight& weight,
                                 const LinearGradient& gradient);
void linear_backward_input_out(const StepContext& context, const Weight& weight,
                               const LinearGradient& gradient, at::Tensor dx);

// What wgrad reads: the input again.
struct WgradInput {
  at::Tensor x;         // [T,K]; may be undefined where wgrad_reads_only_copies()
  Float8Tensor column;  // where a run's wgrad is in float8
};
// column_amax: as LinearInput had it for the same values of x.
WgradInput wgrad_input(const Weight& weight, const at::Tensor& x, const at::Tensor& column_amax);

// dweight[N,K] = dyᵀ · x, or += when `accumulate`. Of all rows, or of half of them: two products
// that other work can be put between.
enum class Rows { kAll, kFirstHalf, kSecondHalf };
void linear_backward_weight(const StepContext& context, const Weight& weight,
                            const LinearGradient& gradient, const WgradInput& input,
                            at::Tensor dweight, bool accumulate, Rows rows = Rows::kAll);

}  // namespace titan
