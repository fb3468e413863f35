#include "lib/model/token_parallel.hpp"

#include <ATen/ATen.h>

namespace titan {
namespace {

at::Tensor with_rows(const at::Tensor& like, int64_t rows) {
  std::vector<int64_t> shape = like.sizes().vec();
  shape[0] = rows;
  return at::empty(shape, like.options());
}

}  // namespace

at::Tensor gather_rows(const Group& group, const at::Tensor& x) {
  if (group.size() == 1) return x;
  at::Tensor all = with_rows(x, x.size(0) * group.size());
  group.all_gather(all, x);
  return all;
}

at::Tensor scatter_rows(const Group& group, const at::Tensor& partial) {
  if (group.size() == 1) return partial;
  at::Tensor own = with_rows(partial, partial.size(0) / group.size());
  group.reduce_scatter(own, partial);
  return own;
}

at::Tensor TokensOnTheWay::wait() {
  mark_.wait();
  from_.reset();
  return std::move(tokens_);
}

TokensOnTheWay start_gather_tokens(const StepContext& context, const at::Tensor& x) {
  if (context.tp.size() == 1) return x;
  TokensOnTheWay tokens(with_rows(x, x.size(0) * context.tp.size()));
  tokens.from_ = x;
  tokens.mark_ =
      context.tp_stream->run([&] { context.tp.all_gather(tokens.tokens_, tokens.from_); });
  return tokens;
}

TokensOnTheWay start_scatter_tokens(const StepContext& context, const at::Tensor& partial) {
  if (context.tp.size() == 1) return partial;
  TokensOnTheWay tokens(with_rows(partial, partial.size(0) / context.tp.size()));
  tokens.from_ = partial;
  tokens.mark_ =
      context.tp_stream->run([&] { context.tp.reduce_scatter(tokens.tokens_, tokens.from_); });
  return tokens;
}

TokenGradient gather_gradient(const StepContext& context, at::Tensor own) {
  TokensOnTheWay all = start_gather_tokens(context, own);
  return {std::move(own), std::move(all)};
}

at::Tensor gather_tokens(const StepContext& context, const at::Tensor& x) {
  return gather_rows(context.tp, x);
}

void linear_backward_input_scattered(const StepContext& context, const Weight& weight,
                                     const LinearGradient& gradient, at::Tensor dx) {
  if (context.tp.size() == 1) return linear_backward_input_out(context, weight, gradient, dx);
  context.tp.reduce_scatter(dx, linear_backward_input(context, weight, gradient));
}

at::Tensor scatter_tokens(const StepContext& context, const at::Tensor& partial) {
  return scatter_rows(context.tp, partial);
}

at::Tensor linear_forward_scattered(const StepContext& context, const Weight& weight,
                                    const LinearInput& input, const at::Tensor& residual) {
  if (context.tp.size() == 1) return linear_forward(context, weight, input, residual);
  return scatter_tokens(context, linear_forward(context, weight, input)).add_(residual);
}

}  // namespace titan
