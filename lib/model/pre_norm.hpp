// The RMSNorm in front of a linear group. Where the group is in float8 throughout, the norm writes
// the float8 copies that its products read, and its output is never in memory.
#pragma once

#include "lib/model/linear.hpp"
#include "lib/model/token_parallel.hpp"

namespace titan {

class PreNorm {
 public:
  // Parameters `norm` and `linear` by their index in the block's unit.
  PreNorm(size_t norm, size_t linear, double eps) : norm_(norm), linear_(linear), eps_(eps) {}

  struct Saved {
    at::Tensor rstd;         // fp32 [T]
    at::Tensor column_amax;  // of the norm's output; see linear.hpp
  };

  // x: [T, D] -> what the linear group reads. For one rank; forward_with_linear() is the whole.
  LinearInput forward(const Weights& weights, const at::Tensor& x, Saved& saved) const;
  // x: [T/tp, D], this rank's tokens -> [T, N], the linear group's output for all tokens.
  at::Tensor forward_with_linear(const StepContext& context, const Weights& weights,
                                 const at::Tensor& x, Saved& saved) const;

  struct Backward {
    at::Tensor dx;         // dresidual included
    float8::RowCopy copy;  // of dx, for linear_gradient(*producer, ...)
    WgradInput y;          // the norm's output, for the group's weight gradient
  };
  // dy: gradient of the norm's output; dresidual: the gradient that reaches x past the norm. Writes
  // the norm weight's gradient (of this rank's tokens). `producer`: the linear group that x is the
  // output of, or null: where it is in float8 throughout, dx comes with its copy. For one rank.
  Backward backward(const Weights& weights, const Gradients& gradients, const at::Tensor& dy,
                    const at::Tensor& x, const Saved& saved, const at::Tensor& dresidual,
                    const Weight* producer) const;

  struct WithLinear {
    TokenGradient dx;      // dresidual included
    float8::RowCopy copy;  // as in Backward
  };
  // From the gradient of the linear group's output to that of x: the group's input gradient, the
  // norm, the group's weight gradient. On many ranks in an order in which sums and gathers run
  // behind products. Frees what it is given as it goes.
  WithLinear backward_with_linear(const StepContext& context, const Weights& weights,
                                  const Gradients& gradients, LinearGradient dy, at::Tensor x,
                                  const Saved& saved, at::Tensor dresidual,
                                  const Weight* producer) const;

 private:
  WithLinear backward_on_many_ranks(const StepContext& context, const Weights& weights,
                                    const Gradients& gradients, LinearGradient dy, at::Tensor x,
                                    const Saved& saved, at::Tensor dresidual) const;

  size_t norm_, linear_;
  double eps_;
};

}  // namespace titan
