// The float8 products of training on the GPU, element by element: against ATen's scaled product and
// against the emulation, which sums in fp32.
#include <ATen/ATen.h>
#include <ATen/ops/_scaled_mm.h>
#include <gtest/gtest.h>

#include "lib/float8/matmul.hpp"
#include "lib/float8/quantize.hpp"
#include "lib/ops/chip.hpp"

namespace titan::float8 {
namespace {

// K is what the product sums over.
struct Shape {
  const char* name;
  int64_t m, n, k;
  Accumulation accumulation;
};
std::ostream& operator<<(std::ostream& out, const Shape& shape) { return out << shape.name; }

class Float8ScaledMm : public testing::TestWithParam<Shape> {
 protected:
  void SetUp() override {
    const std::optional<ops::Chip> chip = ops::visible_chip();
    if (!chip || !ops::has_kernels(*chip)) {
      GTEST_SKIP() << "no CUDA device of compute capability 9.0: cuBLASLt against ATen";
    }
    at::manual_seed(29);
    device_.emplace(ops::Device::cuda(0));
  }

  // Rows of very different magnitude, one of zeros.
  Float8Tensor operand(int64_t rows, int64_t cols) const {
    const auto options = device_->options(at::kBFloat16);
    const at::Tensor magnitudes = at::exp2(at::randint(-12, 13, {rows, 1}, options));
    at::Tensor x = at::randn({rows, cols}, options) * magnitudes;
    x[rows / 2].zero_();
    return quantize_rows(x);
  }

  at::Tensor ours(const Float8Tensor& a, const Float8Tensor& b, at::ScalarType out,
                  bool emulated = false) const {
    const auto options = device_->options(out);
    at::Tensor y = at::full({a.values.size(0), b.values.size(0)}, NAN, options);
    matmul_out(*device_, a, b, y, {}, GetParam().accumulation, emulated);
    return y;
  }

  std::optional<ops::Device> device_;
};

// Within one rounding to bf16 of each other, but for what sums that cancel keep of the tensor
// cores' short accumulators: full accumulation goes over to fp32 every 128 products, fast never.
void expect_one_rounding(const at::Tensor& found, const at::Tensor& expected,
                         Accumulation accumulation) {
  const at::Tensor reference = expected.to(at::kDouble);
  const at::Tensor error = (found.to(at::kDouble) - reference).abs();
  const double of_typical = accumulation == Accumulation::kFast ? 0x1p-4 : 0x1p-9;
  // Outputs differ by the scales of their row and column: typical is each row's own in each column.
  const at::Tensor row = reference.square().mean(1, true).sqrt();
  const at::Tensor column = reference.square().mean(0, true).sqrt();
  const at::Tensor typical = row * column / reference.square().mean().sqrt();
  const at::Tensor allowed = 0x1p-7 * reference.abs() + of_typical * typical;
  EXPECT_TRUE((error <= allowed).all().item<bool>())
      << (error > allowed).sum().item<int64_t>() << " of " << error.numel()
      << " differ by more, the worst " << (error / allowed).nan_to_num().max().item<double>()
      << " times the bound";
  EXPECT_LT((error.norm() / reference.norm()).item<double>(),
            accumulation == Accumulation::kFast ? 1e-2 : 0x1p-8);
}

TEST_P(Float8ScaledMm, IsAtensProduct) {
  const Shape& s = GetParam();
  const Float8Tensor a = operand(s.m, s.k), b = operand(s.n, s.k);
  const at::Tensor expected =
      at::_scaled_mm(a.values, b.values.t(), a.inverse_scales.unsqueeze(1),
                     b.inverse_scales.unsqueeze(0), {}, {}, at::kBFloat16,
                     /*use_fast_accum=*/s.accumulation == Accumulation::kFast);
  expect_one_rounding(ours(a, b, at::kBFloat16), expected, s.accumulation);
}

TEST_P(Float8ScaledMm, IsTheEmulatedProduct) {
  const Shape& s = GetParam();
  const Float8Tensor a = operand(s.m, s.k), b = operand(s.n, s.k);
  const at::Tensor expected = ours(a, b, at::kFloat, /*emulated=*/true);
  for (const at::ScalarType out : {at::kBFloat16, at::kFloat}) {
    if (out == at::kFloat && s.accumulation == Accumulation::kFast)
      continue;  // no product has that
    const at::Tensor found = ours(a, b, out);
    expect_one_rounding(found, expected, s.accumulation);
    EXPECT_TRUE((found[s.m / 2] == 0).all().item<bool>());
    EXPECT_TRUE((found.select(1, s.n / 2) == 0).all().item<bool>());
  }
}

TEST_P(Float8ScaledMm, NanAndInfinityGoWhereTheEmulatedOnesGo) {
  const Shape& s = GetParam();
  at::Tensor x = at::randn({s.m, s.k}, device_->options(at::kBFloat16));
  at::Tensor w = at::randn({s.n, s.k}, device_->options(at::kBFloat16));
  x[1][2] = NAN;
  x[3][4] = INFINITY;
  w[5][6] = -INFINITY;
  const Float8Tensor a = quantize_rows(x), b = quantize_rows(w);
  const at::Tensor found = ours(a, b, at::kBFloat16);
  const at::Tensor expected = ours(a, b, at::kFloat, /*emulated=*/true);
  EXPECT_TRUE(at::equal(found.isnan(), expected.isnan()));
  EXPECT_TRUE(at::equal(found.isinf(), expected.isinf()));
  EXPECT_EQ(found.isnan().sum().item<int64_t>(), 2 * s.n + s.m - 2);
}

INSTANTIATE_TEST_SUITE_P(
    , Float8ScaledMm,
    testing::Values(Shape{"Forward", 2048, 1024, 4096, Accumulation::kFast},
                    Shape{"ForwardOfAnOddBatch", 99, 256, 768, Accumulation::kFast},
                    Shape{"Dgrad", 2048, 4096, 1024, Accumulation::kFull},
                    Shape{"Wgrad", 1024, 4096, 2048, Accumulation::kFull},
                    Shape{"WgradInTwoParts", 1024, 1024, 8192, Accumulation::kFull},
                    Shape{"WgradInFourParts", 256, 528, 16384, Accumulation::kFull},
                    Shape{"Smallest", 16, 16, 16, Accumulation::kFull}),
    testing::PrintToStringParamName());

}  // namespace
}  // namespace titan::float8
