// Initial values: the generator against its published vectors, the distributions, and that shards
// equal slices.
#include "lib/ops/initialise.hpp"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

#include "kernels/init/initial_value.hpp"
#include "lib/base/error.hpp"

namespace titan::ops {
namespace {

using Kind = Initializer::Kind;

const Initializer kNormal{.kind = Kind::kNormal, .mean = 0.0, .std = 1.0};

at::Tensor initialised(int64_t count, const Initializer& initializer, uint64_t seed = 1,
                       std::string_view name = "w", int64_t first = 0,
                       at::ScalarType dtype = at::kFloat) {
  at::Tensor out = at::full({count}, std::nan(""), dtype);
  initialise_(out, initializer, seed, name, {.first_index = first});
  return out;
}

// From the known-answer file of the authors' Random123 library.
TEST(Philox, KnownAnswers) {
  const auto words = [](kernels::PhiloxBlock block) {
    return std::vector<uint32_t>(block.words, block.words + 4);
  };
  EXPECT_EQ(words(kernels::philox({{0, 0, 0, 0}}, 0)),
            (std::vector<uint32_t>{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  const uint32_t ones = 0xffffffff;
  EXPECT_EQ(words(kernels::philox({{ones, ones, ones, ones}}, ~uint64_t{0})),
            (std::vector<uint32_t>{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(words(kernels::philox({{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}},
                                  0x299f31d0a4093822)),
            (std::vector<uint32_t>{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(NormalQuantile, InvertsTheDistributionFunction) {
  for (double z = -6.3; z < 6.3; z += 0.01) {
    const double p = 0.5 * std::erfc(-z / std::numbers::sqrt2);
    // Near 1 the spacing of p limits what can be inverted.
    const double density = std::exp(-z * z / 2) / std::sqrt(2 * std::numbers::pi);
    EXPECT_NEAR(kernels::normal_quantile(p), z, 1e-14 * (1 + std::fabs(z)) + 3e-16 / density) << z;
  }
}

TEST(Initialise, NormalHasItsMomentsAndItsShape) {
  const at::Tensor values = initialised(1 << 20, {.kind = Kind::kNormal, .mean = 3.0, .std = 0.5});
  const double n = static_cast<double>(values.numel());
  const at::Tensor z = (values.to(at::kDouble) - 3.0) / 0.5;
  EXPECT_NEAR(z.mean().item<double>(), 0.0, 5 / std::sqrt(n));
  EXPECT_NEAR(z.var().item<double>(), 1.0, 5 * std::sqrt(2 / n));
  EXPECT_NEAR(z.pow(3).mean().item<double>(), 0.0, 5 * std::sqrt(15 / n));
  EXPECT_NEAR(z.pow(4).mean().item<double>(), 3.0, 5 * std::sqrt(96 / n));
  EXPECT_NEAR((z.abs() < 1).to(at::kDouble).mean().item<double>(), 0.6826895, 5 * 0.4655 / 1024);
  EXPECT_GT(z.abs().max().item<double>(), 4.0);
}

TEST(Initialise, TruncatedNormalKeepsItsShapeInsideTheCut) {
  const at::Tensor values = initialised(
      1 << 18, {.kind = Kind::kTruncatedNormal, .mean = 0.0, .std = 1.0, .low = -1.0, .high = 2.0});
  EXPECT_GE(values.min().item<float>(), -1.0f);
  EXPECT_LE(values.max().item<float>(), 2.0f);
  // Mean of a truncated normal: (φ(low) - φ(high)) / (Φ(high) - Φ(low)).
  const auto density = [](double x) {
    return std::exp(-x * x / 2) / std::sqrt(2 * std::numbers::pi);
  };
  const double mass = 0.9772498680518208 - 0.15865525393145705;
  EXPECT_NEAR(values.to(at::kDouble).mean().item<double>(), (density(-1.0) - density(2.0)) / mass,
              5 * 0.72 / 512);
  // Nothing piles up at the cut, as clamping alone would do.
  EXPECT_LT((values > 1.999).sum().item<int64_t>(), 60);
}

TEST(Initialise, TheDefaultCutIsAbsolute) {
  const at::Tensor values = initialised(1 << 18, {.kind = Kind::kTruncatedNormal, .std = 0.02});
  EXPECT_NEAR(values.std().item<double>(), 0.02, 0.02 * 5 / std::sqrt(2.0 * (1 << 18)));
  EXPECT_GT(values.abs().max().item<float>(), 0.08f);
}

TEST(Initialise, AShardEqualsTheSliceOfTheWhole) {
  for (at::ScalarType dtype : {at::kFloat, at::kBFloat16, at::kDouble}) {
    const at::Tensor whole = initialised(1000, kNormal, 7, "layers.0.w", 0, dtype);
    for (auto [first, count] :
         {std::pair<int64_t, int64_t>{0, 1}, {1, 2}, {3, 6}, {500, 500}, {997, 3}, {250, 0}}) {
      EXPECT_TRUE(at::equal(initialised(count, kNormal, 7, "layers.0.w", first, dtype),
                            whole.narrow(0, first, count)))
          << first << " " << count;
    }
  }
}

// [rows, columns] at (row, column).
struct Part {
  int64_t row, column, rows, columns;
};

at::Tensor cut(const at::Tensor& whole, const Part& part) {
  return whole.narrow(0, part.row, part.rows).narrow(1, part.column, part.columns);
}

TEST(Initialise, ABlockOfAnyKindEqualsTheCutOfTheWhole) {
  constexpr int64_t kRows = 12, kColumns = 18;
  const Part parts[] = {{0, 0, 12, 18}, {3, 0, 4, 18}, {0, 0, 12, 9},  {0, 9, 12, 9},
                        {6, 12, 6, 6},  {5, 7, 3, 5},  {11, 17, 1, 1}, {2, 5, 1, 13},
                        {4, 3, 8, 1},   {4, 8, 0, 10}, {0, 1, 12, 16}};
  for (at::ScalarType dtype : {at::kFloat, at::kBFloat16, at::kDouble}) {
    const at::Tensor whole = initialised(kRows * kColumns, kNormal, 7, "w", 0, dtype);
    for (const Part& part : parts) {
      at::Tensor out = at::full({part.rows, part.columns}, std::nan(""), dtype);
      initialise_(out, kNormal, 7, "w",
                  {.first_index = part.row * kColumns + part.column,
                   .row_length = part.columns,
                   .row_stride = kColumns});
      EXPECT_TRUE(at::equal(out, cut(whole.view({kRows, kColumns}), part)))
          << dtype << ", " << out.sizes() << " at " << part.row << ", " << part.column;
    }
  }
}

TEST(Initialise, ShardsOfTwoMeshesMakeTheSameWhole) {
  // Four ranks by rows, and two by columns of two by rows.
  constexpr int64_t kRows = 8, kColumns = 10;
  at::Tensor by_rows = at::empty({kRows, kColumns}), by_both = at::empty({kRows, kColumns});
  const auto fill = [&](at::Tensor& whole, const Part& part) {
    at::Tensor out = at::empty({part.rows, part.columns});
    initialise_(out, kNormal, 3, "w", {part.row * kColumns + part.column, part.columns, kColumns});
    cut(whole, part).copy_(out);
  };
  for (int64_t rank = 0; rank < 4; ++rank) {
    fill(by_rows, {2 * rank, 0, 2, kColumns});
    fill(by_both, {4 * (rank / 2), 5 * (rank % 2), 4, 5});
  }
  EXPECT_TRUE(at::equal(by_rows, by_both));
}

TEST(Initialise, RefusesBlocksThatAreNotWholeRows) {
  at::Tensor out = at::empty({2, 6});
  EXPECT_THROW(initialise_(out, kNormal, 1, "w", {.row_length = 5, .row_stride = 9}), Error);
  EXPECT_THROW(initialise_(out, kNormal, 1, "w", {.row_length = 6, .row_stride = 5}), Error);
  EXPECT_THROW(initialise_(out, kNormal, 1, "w", {.row_length = 0, .row_stride = 0}), Error);
  EXPECT_THROW(initialise_(out, kNormal, 1, "w", {.first_index = -1}), Error);
}

TEST(Initialise, IndicesBeyond32BitsAreDistinct) {
  EXPECT_FALSE(at::equal(initialised(8, kNormal, 1, "w", 0),
                         initialised(8, kNormal, 1, "w", int64_t{1} << 34)));
}

TEST(Initialise, SeedAndNameGiveIndependentValues) {
  const at::Tensor a = initialised(100000, kNormal, 1, "a");
  for (const at::Tensor& b :
       {initialised(100000, kNormal, 2, "a"), initialised(100000, kNormal, 1, "b")}) {
    EXPECT_NEAR((a * b).mean().item<double>(), 0.0, 5 / std::sqrt(100000.0));
  }
  EXPECT_TRUE(at::equal(a, initialised(100000, kNormal, 1, "a")));
}

TEST(Initialise, ConstantIsItsMean) {
  const at::Tensor values = initialised(9, {.kind = Kind::kConstant, .mean = 1.0});
  EXPECT_TRUE(at::equal(values, at::ones({9})));
}

TEST(Initialise, NarrowTypesRoundTheSameValue) {
  const at::Tensor wide = initialised(1000, kNormal, 5, "w", 0, at::kDouble);
  EXPECT_TRUE(at::equal(initialised(1000, kNormal, 5), wide.to(at::kFloat)));
  EXPECT_TRUE(at::equal(initialised(1000, kNormal, 5, "w", 0, at::kBFloat16),
                        wide.to(at::kFloat).to(at::kBFloat16)));
}

TEST(Initialise, RefusesImpossibleDistributions) {
  EXPECT_THROW(initialised(1, {.kind = Kind::kNormal, .std = 0.0}), Error);
  EXPECT_THROW(initialised(1, {.kind = Kind::kTruncatedNormal, .low = 1.0, .high = -1.0}), Error);
}

}  // namespace
}  // namespace titan::ops
