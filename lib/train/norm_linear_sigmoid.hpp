// LayerNorm(K, no weight) => Linear(K, N, no bias) => sigmoid, forward and backward: the module of
// torchao's float8 benchmark (benchmarks/float8/float8_roofline.py), through the functions that
// training calls (lib/model/linear.hpp), with a weight that the Sharder owns and quantizes. In
// float8 the norm and the sigmoid's backward write the copies that the products read, as the ops
// around a block's linears do (lib/float8/norm_sigmoid.hpp); the sigmoid itself is ATen's.
#pragma once

#include <optional>

#include "lib/model/module.hpp"

namespace titan {

// x[M,K] · W[N,K]ᵀ
struct LinearSize {
  int64_t m = 0, k = 0, n = 0;
  auto operator<=>(const LinearSize&) const = default;
};

class NormLinearSigmoid {
 public:
  // `dtype`: of x, the weight and its gradient. Without a recipe the products run in it.
  NormLinearSigmoid(const ops::Device& device, const LinearSize& size,
                    std::optional<Float8Recipe> recipe, at::ScalarType dtype);

  // [N, K], to be set by hand.
  at::Tensor weight() { return sharder_.units()[0].parameters[0].master; }

  struct Result {
    at::Tensor y;        // [M,N]
    at::Tensor dx;       // [M,K]
    at::Tensor dweight;  // [N,K]
  };
  // x: [M,K]; dy: the gradient of y. In float8 the weight is quantized anew in every call, as in
  // the first micro-batch after an optimizer step.
  Result forward_backward(const at::Tensor& x, const at::Tensor& dy);

 private:
  const ops::Device& device_;
  LinearSize size_;
  Sharder sharder_;
};

}  // namespace titan
