// The table of rotary positions against its formula in fp64.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

#include "lib/ops/rope.hpp"

namespace titan::ops {
namespace {

double frequency(int64_t i, int64_t head_dim, const RopeConfig& config) {
  const double base =
      std::pow(config.theta, -2.0 * static_cast<double>(i) / static_cast<double>(head_dim));
  if (!config.scaling) return base;
  const RopeScaling& s = *config.scaling;
  const double original = static_cast<double>(s.original_max_position);
  const double wavelength = 2 * std::numbers::pi / base;
  if (wavelength < original / s.high_freq_factor) return base;
  if (wavelength > original / s.low_freq_factor) return base / s.factor;
  const double share =
      (original / wavelength - s.low_freq_factor) / (s.high_freq_factor - s.low_freq_factor);
  return (1 - share) * base / s.factor + share * base;
}

// The angle is a product of fp32 numbers, each with a few roundings: the error grows with it.
void expect_formula(int64_t seq_len, int64_t head_dim, const RopeConfig& config) {
  const at::Tensor table = rope_table(seq_len, head_dim, config, at::kCPU);
  ASSERT_EQ(table.sizes(), (at::IntArrayRef{seq_len, head_dim / 2, 2}));
  ASSERT_EQ(table.scalar_type(), at::kFloat);
  ASSERT_TRUE(table.is_contiguous());
  const auto values = table.accessor<float, 3>();
  for (int64_t position = 0; position < seq_len; position += 7) {
    for (int64_t i = 0; i < head_dim / 2; ++i) {
      const double angle = static_cast<double>(position) * frequency(i, head_dim, config);
      const double tolerance = (1 + angle) * 1e-6;
      ASSERT_NEAR(values[position][i][0], std::cos(angle), tolerance) << position << " " << i;
      ASSERT_NEAR(values[position][i][1], std::sin(angle), tolerance) << position << " " << i;
    }
  }
}

TEST(RopeTable, Llama3) {
  expect_formula(8192, 128, {.theta = 500000, .scaling = RopeScaling{}});
  expect_formula(512, 16, {.theta = 500000, .scaling = RopeScaling{}});
}

TEST(RopeTable, Unscaled) { expect_formula(1024, 64, {.theta = 10000, .scaling = {}}); }

// Llama-4's factors leave no wavelengths between: the interpolation divides by zero and must not
// show.
TEST(RopeTable, EqualFactors) {
  expect_formula(1024, 128,
                 {.theta = 500000,
                  .scaling = RopeScaling{.factor = 16,
                                         .low_freq_factor = 1,
                                         .high_freq_factor = 1,
                                         .original_max_position = 8192}});
}

TEST(RopeTable, OnePosition) { expect_formula(1, 2, {.theta = 500000, .scaling = RopeScaling{}}); }

}  // namespace
}  // namespace titan::ops
