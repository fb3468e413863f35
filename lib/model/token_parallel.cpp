#include "lib/model/token_parallel.hpp"

#include <ATen/ATen.h>

namespace titan {
namespace {

at::Tensor with_rows(const at::Tensor& like, int64_t rows) {
  std::vector<int64_t> shape = like.sizes().vec();
  shape[0] = rows;
  return at::empty(shape, like.options());
}

at::Tensor rows_of(const at::Tensor& all, int64_t rank, int64_t ranks) {
  const int64_t rows = all.size(0) / ranks;
  return all.narrow(0, rank * rows, rows);
}

// The other ranks, beginning behind this one: at any time every rank talks to another one.
std::vector<int64_t> other_ranks(const Group& group) {
  std::vector<int64_t> others;
  for (int64_t i = 1; i < group.size(); ++i) {
    others.push_back((group.rank() + i) % group.size());
  }
  return others;
}
// Those that send to this one, in the order in which they do.
std::vector<int64_t> senders(const Group& group) {
  std::vector<int64_t> others = other_ranks(group);
  return {others.rbegin(), others.rend()};
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

at::Tensor gather_tokens(const StepContext& context, const at::Tensor& x) {
  return gather_rows(context.tp, x);
}

at::Tensor scatter_tokens(const StepContext& context, const at::Tensor& partial) {
  return scatter_rows(context.tp, partial);
}

// ---- On the way ----

at::Tensor TokensOnTheWay::wait() {
  mark_.wait();
  for (const at::Tensor& addend : addends_) tokens_.add_(addend);
  from_.reset();
  addends_.clear();
  return std::move(tokens_);
}

TokensOnTheWay start_gather_tokens(const StepContext& context, const at::Tensor& x) {
  const Group& tp = context.tp;
  if (tp.size() == 1) return x;
  TokensOnTheWay tokens(with_rows(x, x.size(0) * tp.size()));
  tokens.from_ = x;
  tokens.mark_ = context.tp_stream->run([&] {
    if (context.peers == nullptr) return tp.all_gather(tokens.tokens_, x);
    for (const int64_t rank : other_ranks(tp)) context.peers->send(rank, x);
    rows_of(tokens.tokens_, tp.rank(), tp.size()).copy_(x);
    for (const int64_t rank : senders(tp)) {
      context.peers->receive(rank, rows_of(tokens.tokens_, rank, tp.size()));
    }
  });
  return tokens;
}

TokensOnTheWay start_scatter_tokens(const StepContext& context, const at::Tensor& partial) {
  const Group& tp = context.tp;
  if (tp.size() == 1) return partial;
  if (context.peers == nullptr) {
    TokensOnTheWay tokens(with_rows(partial, partial.size(0) / tp.size()));
    tokens.from_ = partial;
    tokens.mark_ = context.tp_stream->run([&] { tp.reduce_scatter(tokens.tokens_, tokens.from_); });
    return tokens;
  }
  TokensOnTheWay tokens(rows_of(partial, tp.rank(), tp.size()));
  for (int64_t i = 1; i < tp.size(); ++i) tokens.addends_.push_back(at::empty_like(tokens.tokens_));
  tokens.mark_ = context.tp_stream->run([&] {
    for (const int64_t rank : other_ranks(tp)) {
      context.peers->send(rank, rows_of(partial, rank, tp.size()));
    }
    size_t next = 0;
    for (const int64_t rank : senders(tp)) context.peers->receive(rank, tokens.addends_[next++]);
  });
  return tokens;
}

TokenGradient gather_gradient(const StepContext& context, at::Tensor own) {
  TokensOnTheWay all = start_gather_tokens(context, own);
  return {std::move(own), std::move(all)};
}

// ---- Products ----

at::Tensor linear_forward_gathered(const StepContext& context, const Weight& weight,
                                   const at::Tensor& x, at::Tensor& column_amax) {
  const Group& tp = context.tp;
  if (context.peers == nullptr) {
    LinearInput input = linear_input(weight, gather_tokens(context, x));
    if (reads_only_copies(weight)) input.x.reset();
    column_amax = input.copy.column_amax;
    return linear_forward(context, weight, input);
  }
  // This rank's tokens first; those of the others as they come.
  struct Arrival {
    int64_t rank;
    at::Tensor tokens;
    ops::SideStream::Mark mark;
  };
  std::vector<Arrival> arrivals = {{tp.rank(), x, {}}};
  for (const int64_t rank : senders(tp)) arrivals.push_back({rank, at::empty_like(x), {}});
  context.tp_stream->run([&] {
    for (const int64_t rank : other_ranks(tp)) context.peers->send(rank, x);
  });
  for (size_t i = 1; i < arrivals.size(); ++i) {
    Arrival& arrival = arrivals[i];
    arrival.mark =
        context.tp_stream->run([&] { context.peers->receive(arrival.rank, arrival.tokens); });
  }
  at::Tensor y = at::empty({x.size(0) * tp.size(), weight.shape[0]}, x.options());
  for (const Arrival& arrival : arrivals) {
    arrival.mark.wait();
    const LinearInput input = linear_input(weight, arrival.tokens);
    linear_forward_out(context, weight, input, rows_of(y, arrival.rank, tp.size()));
    const at::Tensor& amax = input.copy.column_amax;
    if (amax.defined()) column_amax = column_amax.defined() ? at::maximum(column_amax, amax) : amax;
  }
  return y;
}

at::Tensor linear_forward_scattered(const StepContext& context, const Weight& weight,
                                    const LinearInput& input, const at::Tensor& residual) {
  const Group& tp = context.tp;
  if (tp.size() == 1) return linear_forward(context, weight, input, residual);
  if (context.peers == nullptr) {
    return scatter_tokens(context, linear_forward(context, weight, input)).add_(residual);
  }
  // The other ranks' tokens first: they travel beside the product of this rank's.
  const int64_t rows = residual.size(0);
  const auto product_of = [&](int64_t rank) {
    return linear_forward(context, weight, narrow_tokens(input, rank * rows, rows));
  };
  std::vector<at::Tensor> sent, addends;
  ops::SideStream::Mark arrived;
  for (const int64_t rank : other_ranks(tp)) {
    sent.push_back(product_of(rank));
    context.tp_stream->run([&] { context.peers->send(rank, sent.back()); });
    addends.push_back(at::empty_like(residual));
  }
  arrived = context.tp_stream->run([&] {
    size_t next = 0;
    for (const int64_t rank : senders(tp)) context.peers->receive(rank, addends[next++]);
  });
  at::Tensor sum = product_of(tp.rank());
  arrived.wait();
  for (const at::Tensor& addend : addends) sum.add_(addend);
  // Last, since each sum is rounded to the size of its result, and the residual is large.
  return sum.add_(residual);
}

void linear_backward_input_scattered(const StepContext& context, const Weight& weight,
                                     const LinearGradient& gradient, at::Tensor dx) {
  if (context.tp.size() == 1) return linear_backward_input_out(context, weight, gradient, dx);
  context.tp.reduce_scatter(dx, linear_backward_input(context, weight, gradient));
}

}  // namespace titan
