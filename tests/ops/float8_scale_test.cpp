// Scales and casts, value by value: the kernels' integer arithmetic against the formula, the
// references at the values that matter.
#include "kernels/quantize/float8_scale.hpp"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>

#include "lib/base/error.hpp"
#include "lib/float8/quantize.hpp"

namespace titan::float8 {
namespace {

// The formula of float8_tensor.hpp, in doubles.
float scale_by_formula(float amax) {
  if (std::isnan(amax)) return amax;
  const auto quotient = static_cast<float>(448.0 / std::max(static_cast<double>(amax), 1e-12));
  return quotient == 0 ? 0.0f : std::exp2f(static_cast<float>(std::ilogb(quotient)));
}

void expect_scale(uint32_t bits) {
  const kernels::Float8Scale actual = kernels::float8_scale(bits);
  const float expected = scale_by_formula(std::bit_cast<float>(bits));
  if (std::isnan(expected)) {
    EXPECT_TRUE(std::isnan(actual.scale) && std::isnan(actual.inverse));
    return;
  }
  EXPECT_EQ(actual.scale, expected) << std::bit_cast<float>(bits);
  EXPECT_EQ(actual.inverse, 1 / expected) << std::bit_cast<float>(bits);
}

TEST(Float8Scale, EveryBfloat16) {
  for (uint32_t bits = 0; bits < 0x8000; ++bits) expect_scale(bits << 16);
}

TEST(Float8Scale, Fp32NearEveryPowerOfTwoAndWhereTheScaleSteps) {
  for (uint32_t exponent = 0; exponent < 256; ++exponent) {
    for (const uint32_t mantissa : {0x000000u, 0x000001u, 0x000002u, 0x5fffffu, 0x600000u,
                                    0x600001u, 0x600002u, 0x7ffffeu, 0x7fffffu}) {
      expect_scale(exponent << 23 | mantissa);
    }
  }
  uint32_t bits = 1;
  for (int i = 0; i < 1000000; ++i) expect_scale((bits = bits * 1664525 + 1013904223) >> 1);
}

at::Tensor row(std::initializer_list<float> values) {
  return at::tensor(values, at::kFloat).to(at::kBFloat16).unsqueeze(0);
}

at::Tensor bytes(const Float8Tensor& copy) { return copy.values.view(at::kByte); }

TEST(Float8Reference, ZerosStayZeros) {
  const Float8Tensor copy = reference::quantize_rows(row({0.0f, -0.0f, 0.0f}));
  EXPECT_EQ(copy.inverse_scales.item<float>(), std::exp2f(-48));
  EXPECT_TRUE(at::equal(bytes(copy), at::tensor({0, 0x80, 0}, at::kByte).unsqueeze(0)));
  EXPECT_TRUE(at::equal(dequantize(copy), at::zeros({1, 3})));
}

TEST(Float8Reference, RoundsToNearestEvenAndReachesTheLargest) {
  // Scale 1: 17 lies between 16 and 18, 19 between 18 and 20; 2^-9 is the smallest, half of it 0.
  const Float8Tensor copy =
      reference::quantize_rows(row({448, 17, -19, 0.001953125f, 0.0009765625f, -440}));
  EXPECT_EQ(copy.inverse_scales.item<float>(), 1.0f);
  EXPECT_TRUE(at::equal(
      dequantize(copy),
      at::tensor({448.0f, 16.0f, -20.0f, 0.001953125f, 0.0f, -448.0f}, at::kFloat).unsqueeze(0)));
}

TEST(Float8Reference, HugeAndSubnormalRows) {
  const at::Tensor x = at::cat({row({3e38f, -1.5e38f}), row({1e-40f, -3e-41f})});
  const Float8Tensor copy = reference::quantize_rows(x);
  EXPECT_TRUE(dequantize(copy)[0].allclose(x[0].to(at::kFloat), 0.07));
  // Below 1e-12 the scale grows no more.
  EXPECT_EQ(copy.inverse_scales[1].item<float>(), std::exp2f(-48));
  EXPECT_TRUE(at::equal(bytes(copy)[1], at::tensor({0, 0x80}, at::kByte)));
}

TEST(Float8Reference, NanAndInfinityBecomeNanInProducts) {
  const at::Tensor x = at::cat({row({1, NAN, 2}), row({1, -INFINITY, 2}), row({1, 3, 2})});
  const Float8Tensor rows = reference::quantize_rows(x);
  const at::Tensor products = dequantize(rows).sum(1);
  EXPECT_TRUE(products[0].isnan().item<bool>());
  EXPECT_TRUE(products[1].isnan().item<bool>());
  EXPECT_EQ(products[2].item<float>(), 6.0f);
  EXPECT_TRUE(dequantize(rows)[0].isnan().all().item<bool>());
  EXPECT_TRUE(std::isinf(rows.inverse_scales[1].item<float>()));

  const at::Tensor columns = dequantize(quantize_columns(x));
  EXPECT_TRUE(columns[1].isnan().any().item<bool>());
  EXPECT_FALSE(columns[0].isnan().any().item<bool>());
}

TEST(Float8Copies, ColumnCopyIsTheRowCopyOfTheTranspose) {
  at::manual_seed(3);
  const at::Tensor x = at::randn({48, 80}).to(at::kBFloat16) * at::exp2(at::arange(80) - 40);
  const Float8Tensor columns = quantize_columns(x.to(at::kBFloat16));
  const Float8Tensor rows = quantize_rows(x.to(at::kBFloat16).t().contiguous());
  EXPECT_TRUE(at::equal(bytes(columns), bytes(rows)));
  EXPECT_TRUE(at::equal(columns.inverse_scales, rows.inverse_scales));
}

TEST(Float8Copies, OneScaleForTheWholeMatrix) {
  at::manual_seed(3);
  const at::Tensor x = at::randn({48, 80}).to(at::kBFloat16);
  const Float8Tensor copy = quantize_columns_by_tensor(x);
  const float amax = x.abs().max().item<float>();
  EXPECT_TRUE(at::equal(copy.inverse_scales, at::full({80}, 1 / scale_by_formula(amax))));
  EXPECT_TRUE(at::equal(bytes(copy), (x.t().to(at::kFloat) * scale_by_formula(amax))
                                         .to(at::kFloat8_e4m3fn)
                                         .contiguous()
                                         .view(at::kByte)));
}

TEST(Float8Copies, RefusesWhatItCannotRead) {
  EXPECT_THROW(quantize_rows(at::zeros({16})), Error);
  EXPECT_THROW(quantize_rows(at::zeros({16, 16}, at::kHalf)), Error);
  EXPECT_THROW(quantize_columns(at::zeros({16, 32}).t()), Error);
  EXPECT_THROW(quantize_columns(at::zeros({16, 32}), at::zeros({16})), Error);
  EXPECT_THROW(quantize_rows(at::zeros({0, 16})), Error);
}

}  // namespace
}  // namespace titan::float8
