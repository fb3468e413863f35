// Tensor parallelism splits products among ranks by heads, hidden units or vocabulary, and what
// lies between them by tokens: rank r of n has tokens [r T/n, (r + 1) T/n) of the micro-batch's T,
// taken as one row (what upstream calls sequence parallel). A product split by its outputs (wq, wk,
// wv; w1, w3; output) reads all tokens; one split by its inputs (wo, w2) gives every rank a part of
// the sum for all tokens. On one rank the functions return what they are given.
#pragma once

#include "lib/model/linear.hpp"

namespace titan {

// The ranks' rows, one below another; and back, this rank's rows of the sum of what they hold.
at::Tensor gather_rows(const Group& group, const at::Tensor& x);
at::Tensor scatter_rows(const Group& group, const at::Tensor& partial);

// [T/n, ...] on each rank -> [T, ...] on all.
at::Tensor gather_tokens(const StepContext& context, const at::Tensor& x);

// [T, ...], a part of the sum on each rank -> [T/n, ...], this rank's tokens of the sum.
at::Tensor scatter_tokens(const StepContext& context, const at::Tensor& partial);

// The product of a linear split by its inputs, this rank's tokens of it, plus their residual.
at::Tensor linear_forward_scattered(const StepContext& context, const Weight& weight,
                                    const LinearInput& input, const at::Tensor& residual);

// dx[T/n, K]: this rank's tokens of the input gradient of a linear split by its outputs.
void linear_backward_input_scattered(const StepContext& context, const Weight& weight,
                                     const LinearGradient& gradient, at::Tensor dx);

}  // namespace titan
