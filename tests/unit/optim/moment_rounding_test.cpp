// Stochastic rounding of the moments: unbiased, sane at the ends of the range, and a function of
// seed, parameter, step and element alone.
#include "kernels/optim/moment_rounding.hpp"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <limits>

#include "lib/base/error.hpp"
#include "lib/ops/adamw.hpp"

namespace titan::ops {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kLargestBf16 = 0x1.FEp127f;

float rounded(float value, uint32_t random) {
  return std::bit_cast<float>(kernels::round_stochastically(value, random) << 16);
}

TEST(RoundStochastically, GoesUpAsOftenAsTheMeanNeeds) {
  // All 2^16 random numbers: the mean is exact, and only the two neighbours occur.
  for (const float value : {1.0f, 1.00390625f, -1.001f, 3.14159f, 0x1.8p-130f, -0x1.23456p-128f,
                            1e-40f, 1e-45f, 1e30f}) {
    const float low = rounded(value, 0), high = rounded(value, 0xffff);
    double sum = 0;
    for (uint32_t random = 0; random < 0x10000; ++random) {
      const float result = rounded(value, random);
      ASSERT_TRUE(result == low || result == high);
      sum += result;
    }
    EXPECT_EQ(sum / 0x10000, static_cast<double>(value)) << value;
    EXPECT_LE(std::fabs(low), std::fabs(value));
  }
}

TEST(RoundStochastically, KeepsWhatABf16Holds) {
  for (const float value : {0.0f, -0.0f, 1.5f, -0x1p-133f, kLargestBf16, kInfinity, -kInfinity}) {
    for (const uint32_t random : {0u, 1u, 0x8000u, 0xffffu}) {
      EXPECT_EQ(std::bit_cast<uint32_t>(rounded(value, random)), std::bit_cast<uint32_t>(value));
    }
  }
}

TEST(RoundStochastically, FiniteStaysFinite) {
  const float largest = std::numeric_limits<float>::max();
  for (const uint32_t random : {0u, 0x7fffu, 0xffffu}) {
    EXPECT_EQ(rounded(largest, random), kLargestBf16);
    EXPECT_EQ(rounded(-largest, random), -kLargestBf16);
    EXPECT_EQ(rounded(std::nextafter(kLargestBf16, kInfinity), random), kLargestBf16);
    EXPECT_LE(rounded(std::nextafter(kLargestBf16, 0.0f), random), kLargestBf16);
  }
}

TEST(RoundStochastically, NaNStaysNaN) {
  for (const float value : {std::nanf(""), -std::nanf(""), std::nanf("0x3fffff")}) {
    for (const uint32_t random : {0u, 0xffffu}) EXPECT_TRUE(std::isnan(rounded(value, random)));
  }
}

// AdamW on the CPU, from given moments.
struct Update {
  int64_t count;
  uint64_t seed = 1;
  std::string_view name = "layers.0.w";
  int64_t step = 1;
  at::ScalarType gradient_dtype = at::kFloat;

  // Of a part of the same inputs, which `take` cuts from each: exp_avg, exp_avg_sq, master.
  template <class Cut>
  std::vector<at::Tensor> part(const Cut& take, const TensorBlock& block) const {
    at::manual_seed(11);
    const at::Tensor master = at::randn({count}), gradient = at::randn({count});
    const at::Tensor m = at::randn({count}).to(at::kBFloat16), v = m.square();
    const auto cut = [&](const at::Tensor& whole) {
      return take(whole).clone(at::MemoryFormat::Contiguous);
    };
    AdamWTensors t{cut(master), cut(gradient).to(gradient_dtype), cut(m), cut(v), {}};
    const StepControls controls(at::kCPU);
    controls.step().fill_(step - 1);
    decide_step({}, at::ones({}, at::kDouble), {}, controls);
    adamw_(t, {.learning_rate = 0.01}, controls,
           MomentRounding{.key = rounding_key(seed, name), .block = block});
    return {t.exp_avg, t.exp_avg_sq, t.master};
  }
  // The elements [first, first + size).
  std::vector<at::Tensor> part(int64_t first, int64_t size) const {
    return part([=](const at::Tensor& whole) { return whole.narrow(0, first, size); },
                {.first_index = first});
  }
  std::vector<at::Tensor> whole() const { return part(0, count); }
};

bool equal(const std::vector<at::Tensor>& a, const std::vector<at::Tensor>& b) {
  return at::equal(a[0], b[0]) && at::equal(a[1], b[1]) && at::equal(a[2], b[2]);
}

TEST(MomentRounding, RepeatsAndDependsOnSeedNameAndStep) {
  const Update run{.count = 4096};
  const std::vector<at::Tensor> first = run.whole();
  EXPECT_TRUE(equal(first, run.whole()));
  for (const Update& other :
       {Update{.count = 4096, .seed = 2}, Update{.count = 4096, .name = "layers.1.w"}}) {
    const std::vector<at::Tensor> moments = other.whole();
    for (const size_t i : {0, 1}) {
      // Most values have two neighbours that are about as likely.
      EXPECT_GT(first[i].ne(moments[i]).sum().item<int64_t>(), 1000);
    }
    EXPECT_TRUE(at::equal(first[2], moments[2])) << "the master must not see the rounding";
  }
  EXPECT_NE(first[0].ne(Update{.count = 4096, .step = 2}.whole()[0]).sum().item<int64_t>(), 0);
}

TEST(MomentRounding, DoesNotDependOnHowAParameterIsCut) {
  const Update run{.count = 50000};
  const std::vector<at::Tensor> whole = run.whole();
  for (const auto& [first, size] : {std::pair<int64_t, int64_t>{0, 1},
                                    {1, 2},
                                    {3, 6},
                                    {7, 40000},
                                    {16, 16},
                                    {25000, 25000},
                                    {49997, 3}}) {
    const std::vector<at::Tensor> part = run.part(first, size);
    for (size_t i = 0; i < whole.size(); ++i) {
      EXPECT_TRUE(at::equal(part[i], whole[i].narrow(0, first, size))) << first << " " << size;
    }
  }
}

TEST(MomentRounding, DoesNotDependOnColumnsBeingCut) {
  constexpr int64_t kRows = 40, kColumns = 250;
  const Update run{.count = kRows * kColumns};
  const std::vector<at::Tensor> whole = run.whole();
  // Row, column, rows, columns.
  for (const auto& [row, column, rows, columns] : {std::array<int64_t, 4>{0, 0, 40, 125},
                                                   {0, 125, 40, 125},
                                                   {10, 4, 20, 64},
                                                   {3, 249, 37, 1},
                                                   {7, 1, 1, 248},
                                                   {39, 3, 1, 2},
                                                   {5, 0, 9, 250},
                                                   {0, 10, 0, 5}}) {
    const auto take = [&](const at::Tensor& all) {
      return all.view({kRows, kColumns}).narrow(0, row, rows).narrow(1, column, columns);
    };
    const std::vector<at::Tensor> part = run.part(
        take,
        {.first_index = row * kColumns + column, .row_length = columns, .row_stride = kColumns});
    for (size_t i = 0; i < whole.size(); ++i) {
      EXPECT_TRUE(at::equal(part[i], take(whole[i]))) << row << " " << column;
    }
  }
}

TEST(MomentRounding, IndicesAndStepsBeyond32BitsAreDistinct) {
  const auto words = [](int64_t step, int64_t block) {
    const kernels::PhiloxBlock bits = kernels::rounding_bits(5, step, block);
    return std::vector<uint32_t>(bits.words, bits.words + 4);
  };
  EXPECT_NE(words(1, 0), words(1, int64_t{1} << 32));
  EXPECT_NE(words(1, 0), words(1 + (int64_t{1} << 32), 0));
  EXPECT_NE(words(1, 2), words(2, 1));
}

// The same elements over many steps: each element's mean rounding error is zero within a few
// standard errors, those of exp_avg and exp_avg_sq are independent, and so are neighbours.
TEST(MomentRounding, IsUnbiasedOverManySteps) {
  constexpr int64_t kCount = 64, kSteps = 20000;
  const float values[] = {1.001f, -2.7183f, 3.1416e-5f, 1e-39f};
  at::Tensor up = at::zeros({2, kCount, 4}, at::kDouble);
  auto* counts = up.mutable_data_ptr<double>();
  double both = 0, neighbours = 0;
  const uint64_t key = rounding_key(9, "w");
  const uint32_t half = 0x8000;
  for (int64_t step = 1; step <= kSteps; ++step) {
    uint32_t last = 0;
    for (int64_t i = 0; i < kCount; ++i) {
      const uint32_t word = kernels::rounding_bits(key, step, i / 4).words[i % 4];
      const uint32_t random[] = {kernels::exp_avg_bits(word), kernels::exp_avg_sq_bits(word)};
      for (int moment = 0; moment < 2; ++moment) {
        for (int v = 0; v < 4; ++v) {
          counts[(moment * kCount + i) * 4 + v] +=
              rounded(values[v], random[moment]) != rounded(values[v], 0);
        }
      }
      both += (random[0] < half) == (random[1] < half);
      if (i > 0) neighbours += (random[0] < half) == (last < half);
      last = random[0];
    }
  }
  for (int v = 0; v < 4; ++v) {
    const double p = (std::bit_cast<uint32_t>(values[v]) & 0xffffu) / 65536.0;
    const double deviation = std::sqrt(p * (1 - p) / kSteps);
    const at::Tensor error = (up.select(2, v) / kSteps - p) / deviation;
    EXPECT_LT(error.abs().max().item<double>(), 5.0) << values[v];  // the largest of 128
    EXPECT_NEAR(error.mean().item<double>(), 0.0, 5 / std::sqrt(2.0 * kCount));
    EXPECT_NEAR(error.std().item<double>(), 1.0, 0.35);
  }
  const double pairs = static_cast<double>(kCount * kSteps);
  EXPECT_NEAR(both / pairs, 0.5, 5 * 0.5 / std::sqrt(pairs));
  EXPECT_NEAR(neighbours / (pairs * (kCount - 1) / kCount), 0.5, 5 * 0.5 / std::sqrt(pairs));
}

// What rounding to nearest would not do: with beta2 = 0.999 exp_avg_sq moves by less than half a
// unit of the last place in a step, and still arrives.
TEST(MomentRounding, FollowsSmallChanges) {
  constexpr int64_t kCount = 4096;
  AdamWTensors t{at::zeros({kCount}),
                 at::full({kCount}, 2.0),
                 at::zeros({kCount}, at::kBFloat16),
                 at::ones({kCount}, at::kBFloat16),
                 {}};
  const AdamWSettings settings{.learning_rate = 0.0, .beta1 = 0.9, .beta2 = 0.999};
  const StepControls controls(at::kCPU);
  for (int step = 0; step < 1000; ++step) {
    decide_step({.max_norm = kInfinity, .beta1 = 0.9, .beta2 = 0.999}, at::ones({}, at::kDouble),
                {}, controls);
    adamw_(t, settings, controls, MomentRounding{.key = 1});
  }
  const double expected = 4 - 3 * std::pow(0.999, 1000);
  EXPECT_NEAR(t.exp_avg_sq.to(at::kDouble).mean().item<double>(), expected, 0.01);
  EXPECT_NEAR(t.exp_avg.to(at::kDouble).mean().item<double>(), 2.0, 0.005);
}

TEST(MomentRounding, RefusesMomentsThatAreNotBf16) {
  AdamWTensors t{at::zeros({8}), at::zeros({8}), at::zeros({8}), at::zeros({8}), {}};
  const StepControls controls(at::kCPU);
  EXPECT_THROW(adamw_(t, {}, controls, MomentRounding{}), Error);
  t.exp_avg = t.exp_avg_sq = at::zeros({8}, at::kBFloat16);
  EXPECT_THROW(adamw_(t, {}, controls), Error);
  EXPECT_THROW(adamw_(t, {}, controls, MomentRounding{.key = 1, .block = {-1}}), Error);
  EXPECT_THROW(adamw_(t, {}, controls, MomentRounding{.key = 1, .block = {0, 3, 6}}), Error);
}

}  // namespace
}  // namespace titan::ops
