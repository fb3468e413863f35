// LayerNorm's statistics and gradient against fp64: at most twice the error of the same in ATen.
// (Its output and copies, given the statistics, are rows of the float8 op table.)
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "lib/base/error.hpp"
#include "lib/float8/norm_sigmoid.hpp"
#include "lib/ops/device.hpp"

namespace titan::float8 {
namespace {

constexpr double kEps = 1e-5;
constexpr double kRounding = 16.0 / (1 << 24);  // sums in another order

// The largest error of a row, relative to the norm of an average row.
double worst_row_error(const at::Tensor& actual, const at::Tensor& exact) {
  const at::Tensor worst = (actual.to(at::kDouble) - exact).norm(2, 1).max();
  return (worst / exact.square().sum(1).mean().sqrt()).item<double>();
}

class LayerNorm : public testing::TestWithParam<at::DeviceType> {};

INSTANTIATE_TEST_SUITE_P(Devices, LayerNorm, testing::Values(at::kCPU, at::kCUDA),
                         [](const auto& info) { return info.param == at::kCPU ? "Cpu" : "Cuda"; });

TEST_P(LayerNorm, StatisticsAndGradient) {
  if (GetParam() == at::kCUDA && !ops::Device::preferred().is_cuda()) {
    GTEST_SKIP() << "no CUDA device: the LayerNorm kernels";
  }
  at::manual_seed(17);
  for (const auto& [rows, cols] :
       {std::pair<int64_t, int64_t>{16, 16}, {48, 272}, {2320, 96}, {300, 4096}, {64, 8192}}) {
    for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
      SCOPED_TRACE(concat(rows, " x ", cols, ", ", dtype));
      const auto options = at::TensorOptions().device(GetParam());
      const at::Tensor x = (at::randn({rows, cols}, options) * 3 + 1).to(dtype);
      const at::Tensor dy = at::randn({rows, cols}, options).to(dtype);
      const at::Tensor wide_x = x.to(at::kDouble), wide_dy = dy.to(at::kDouble);
      const auto [y, mean, rstd] = at::native_layer_norm(wide_x, {cols}, {}, {}, kEps);
      const auto [dx, gamma, beta] = at::native_layer_norm_backward(
          wide_dy, wide_x, {cols}, mean, rstd, {}, {}, {true, false, false});

      const LayerNormResult found = layer_norm(x, kEps);
      const at::Tensor found_dx = layer_norm_backward(dy, x, found.mean, found.rstd);
      const LayerNormResult plain = reference::layer_norm(x, kEps);
      const at::Tensor plain_dx = reference::layer_norm_backward(dy, x, plain.mean, plain.rstd);
      EXPECT_TRUE(at::allclose(found.mean.to(at::kDouble), mean.squeeze(1), 1e-5, 1e-6));
      EXPECT_TRUE(at::allclose(found.rstd.to(at::kDouble), rstd.squeeze(1), 1e-5, 0));
      EXPECT_LE(worst_row_error(found.y, y), 2 * worst_row_error(plain.y, y) + kRounding);
      EXPECT_LE(worst_row_error(found_dx, dx), 2 * worst_row_error(plain_dx, dx) + kRounding);
      EXPECT_EQ(found_dx.scalar_type(), dtype);
      EXPECT_TRUE(at::equal(found_dx, layer_norm_backward(dy, x, found.mean, found.rstd)));
    }
  }
}

}  // namespace
}  // namespace titan::float8
