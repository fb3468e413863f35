// Tensor parallelism splits products among ranks by heads, hidden units or vocabulary, and what
// lies between them by tokens: rank r of n has tokens [r T/n, (r + 1) T/n) of the micro-batch's T,
// taken as one row (what upstream calls sequence parallel). A product split by its outputs (wq, wk,
// wv; w1, w3; output) reads all tokens; one split by its inputs (wo, w2) gives every rank a part of
// the sum for all tokens. On one rank the functions return what they are given.
//
// With context.peers (async tensor parallel) tokens travel rank by rank beside the products of
// those that are there.
#pragma once

#include "lib/model/linear.hpp"
#include "lib/ops/side_stream.hpp"

namespace titan {

// The ranks' rows, one below another; and back, this rank's rows of the sum of what they hold.
at::Tensor gather_rows(const Group& group, const at::Tensor& x);
at::Tensor scatter_rows(const Group& group, const at::Tensor& partial);

// [T/n, ...] on each rank -> [T, ...] on all.
at::Tensor gather_tokens(const StepContext& context, const at::Tensor& x);

// [T, ...], a part of the sum on each rank -> [T/n, ...], this rank's tokens of the sum.
at::Tensor scatter_tokens(const StepContext& context, const at::Tensor& partial);

// Tokens of all ranks, or the sum for this rank's, on their way beside what the device computes.
class TokensOnTheWay {
 public:
  TokensOnTheWay() = default;
  TokensOnTheWay(at::Tensor tokens) : tokens_(std::move(tokens)) {}  // they are there
  // Makes the current stream wait for them. Once.
  at::Tensor wait();

 private:
  friend TokensOnTheWay start_gather_tokens(const StepContext& context, const at::Tensor& x);
  friend TokensOnTheWay start_scatter_tokens(const StepContext& context, const at::Tensor& partial);
  at::Tensor tokens_;
  at::Tensor from_;                  // alive until they have arrived
  std::vector<at::Tensor> addends_;  // of the sum, as they arrive from other ranks
  ops::SideStream::Mark mark_;
};

// gather_tokens and scatter_tokens that begin after all that was enqueued so far, and run while the
// device goes on.
TokensOnTheWay start_gather_tokens(const StepContext& context, const at::Tensor& x);
TokensOnTheWay start_scatter_tokens(const StepContext& context, const at::Tensor& partial);

// The gradient of what lies between blocks.
struct TokenGradient {
  at::Tensor own;      // [T/n, D], this rank's tokens
  TokensOnTheWay all;  // [T, D]
};
TokenGradient gather_gradient(const StepContext& context, at::Tensor own);

// x[T/n, K] -> y[T, N]: the product of a linear split by its outputs, of all ranks' tokens.
// `column_amax`: of all tokens of x, where wgrad wants it.
at::Tensor linear_forward_gathered(const StepContext& context, const Weight& weight,
                                   const at::Tensor& x, at::Tensor& column_amax);

// The product of a linear split by its inputs, this rank's tokens of it, plus their residual.
at::Tensor linear_forward_scattered(const StepContext& context, const Weight& weight,
                                    const LinearInput& input, const at::Tensor& residual);

// dx[T/n, K]: this rank's tokens of the input gradient of a linear split by its outputs.
void linear_backward_input_scattered(const StepContext& context, const Weight& weight,
                                     const LinearGradient& gradient, at::Tensor dx);

}  // namespace titan
