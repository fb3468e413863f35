#include "lib/ops/gradient_norm.hpp"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <cmath>

namespace titan::ops {
namespace {

double norm(const std::vector<at::Tensor>& tensors) {
  return std::sqrt(square_sum(tensors, at::kCPU).item<double>());
}

TEST(GradientNorm, EqualsTheNormOfAllValuesTogether) {
  at::manual_seed(3);
  const at::Tensor a = at::randn({300, 701}), b = at::randn({1}), c = at::randn({0}),
                   d = at::randn({77}).to(at::kBFloat16), e = at::randn({5}, at::kDouble);
  std::vector<at::Tensor> flat;
  for (const at::Tensor& tensor : {a, b, c, d, e}) flat.push_back(tensor.to(at::kDouble).flatten());
  const double expected = at::cat(flat).norm().item<double>();
  EXPECT_NEAR(norm({a, b, c, d, e}), expected, 1e-12 * expected);
}

TEST(GradientNorm, OfNothingIsZero) { EXPECT_EQ(norm({}), 0.0); }

TEST(GradientNorm, LargeValuesDoNotOverflow) {
  EXPECT_NEAR(norm({at::full({4}, 1e25f)}), 2e25, 1e19);
}

TEST(GradientNorm, NonFiniteValuesShow) {
  at::Tensor values = at::ones({1000});
  values[999] = std::nan("");
  EXPECT_TRUE(std::isnan(norm({at::ones({3}), values})));
  values[999] = INFINITY;
  EXPECT_TRUE(std::isinf(norm({values, at::ones({3})})));
}

TEST(GradientNorm, SameBitsWithAnyNumberOfThreads) {
  const int threads = at::get_num_threads();
  const at::Tensor values = at::randn({1000003});
  at::set_num_threads(1);
  const double one = norm({values});
  at::set_num_threads(2);
  const double two = norm({values});
  at::set_num_threads(threads);
  EXPECT_EQ(one, two);
}

}  // namespace
}  // namespace titan::ops
