// The module that titan-bench float8_linear times computes what it says, and the bench's tables.
#include "lib/train/float8_linear_bench.hpp"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <sstream>

#include "lib/base/error.hpp"
#include "lib/float8/matmul.hpp"

namespace titan {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::StartsWith;
using testing::ThrowsMessage;

constexpr LinearSize kSize = {.m = 96, .k = 64, .n = 48};

// The same in plain ATen, fp64.
NormLinearSigmoid::Result exact(const at::Tensor& x, const at::Tensor& weight,
                                const at::Tensor& dy) {
  const auto [normed, mean, rstd] =
      at::native_layer_norm(x.to(at::kDouble), {x.size(1)}, {}, {}, 1e-5);
  const at::Tensor y = at::mm(normed, weight.to(at::kDouble).t()).sigmoid();
  const at::Tensor dlinear = dy.to(at::kDouble) * y * (1 - y);
  const at::Tensor dnormed = at::mm(dlinear, weight.to(at::kDouble));
  // dx = rstd · (dy − mean(dy) − x̂ · mean(dy · x̂))
  const at::Tensor dx =
      rstd * (dnormed - dnormed.mean(1, true) - normed * (dnormed * normed).mean(1, true));
  return {y, dx, at::mm(dlinear.t(), normed)};
}

double decibels(const at::Tensor& expected, const at::Tensor& found) {
  const at::Tensor error = found.to(at::kDouble) - expected;
  return 20 * std::log10((expected.norm() / error.norm()).item<double>());
}

// On the GPU the products and the copies are the kernels', in bf16 alone.
class NormLinearSigmoidOn : public testing::TestWithParam<at::DeviceType> {};

INSTANTIATE_TEST_SUITE_P(Devices, NormLinearSigmoidOn, testing::Values(at::kCPU, at::kCUDA),
                         [](const auto& info) { return info.param == at::kCPU ? "Cpu" : "Cuda"; });

TEST_P(NormLinearSigmoidOn, ComputesWhatItSays) {
  const bool cuda = GetParam() == at::kCUDA;
  const ops::Device device = cuda ? ops::Device::preferred() : ops::Device::cpu();
  if (cuda && !device.is_cuda()) GTEST_SKIP() << "no CUDA device";
  const at::ScalarType dtype = cuda ? at::kBFloat16 : at::kFloat;
  const LinearSize size = cuda ? LinearSize{.m = 2048, .k = 1024, .n = 768} : kSize;
  at::manual_seed(1);
  const at::Tensor x = (at::randn({size.m, size.k}) * 3 + 1).to(device.options(dtype));
  const at::Tensor dy = at::randn({size.m, size.n}).to(device.options(dtype));
  for (const std::optional<Float8Recipe> recipe :
       {std::optional<Float8Recipe>(), std::optional(Float8Recipe::kRowwise),
        std::optional(Float8Recipe::kRowwiseWithGwHp)}) {
    SCOPED_TRACE(recipe ? recipe_name(*recipe) : "no recipe");
    NormLinearSigmoid module(device, size, recipe, dtype);
    // Sigmoids far from 0 and 1.
    module.weight().normal_(0, 0.8 / std::sqrt(static_cast<double>(size.k)));
    const int64_t products = float8::matmuls_executed();
    module.forward_backward(x, dy);
    const NormLinearSigmoid::Result found = module.forward_backward(x, dy);  // not twice the sum
    const int64_t expected_products = !recipe ? 0 : *recipe == Float8Recipe::kRowwise ? 3 : 2;
    EXPECT_EQ(float8::matmuls_executed() - products, 2 * expected_products);

    const NormLinearSigmoid::Result expected = exact(x, module.weight(), dy);
    const double bar = recipe ? 20 : cuda ? 40 : 100;  // float8 products: upstream's is 17 to 20
    EXPECT_GT(decibels(expected.y, found.y), bar);
    EXPECT_GT(decibels(expected.dx, found.dx), bar);
    EXPECT_GT(decibels(expected.dweight, found.dweight), bar);
  }
}

TEST(NormLinearSigmoid, FollowsItsWeight) {
  const ops::Device device = ops::Device::cpu();
  at::manual_seed(2);
  const at::Tensor x = at::randn({kSize.m, kSize.k}), dy = at::randn({kSize.m, kSize.n});
  NormLinearSigmoid module(device, kSize, Float8Recipe::kRowwise, at::kFloat);
  module.forward_backward(x, dy);
  module.weight().zero_();
  const NormLinearSigmoid::Result found = module.forward_backward(x, dy);
  EXPECT_TRUE(at::equal(found.y, at::full({kSize.m, kSize.n}, 0.5f)));
  EXPECT_TRUE(at::equal(found.dx, at::zeros({kSize.m, kSize.k})));
}

TEST(Float8LinearBench, SizesAreTheProductOfTheLists) {
  const std::vector<LinearSize> sizes = linear_sizes({16, 32}, {48}, {64, 80});
  EXPECT_THAT(sizes, ElementsAre(LinearSize{16, 48, 64}, LinearSize{16, 48, 80},
                                 LinearSize{32, 48, 64}, LinearSize{32, 48, 80}));
  EXPECT_THAT([] { linear_sizes({16}, {}, {16}); },
              ThrowsMessage<InputError>(HasSubstr("--M, --K and --N together")));
  EXPECT_THAT(
      [] {
        linear_sizes({16}, {16, 28688}, {16});
      },
      ThrowsMessage<InputError>(HasSubstr("at most 28672, got 28688")));
}

TEST(Float8LinearBench, NeedsAGpu) {
  const ops::Device cpu = ops::Device::cpu();
  EXPECT_THROW(time_float8_linear(cpu, kSize), InputError);
}

// A product alone, and the floor of the largest of torchao's sizes by hand: 3 x 7.70 TFLOP and
// 9.60 GB.
TEST(Float8LinearBench, FloorAddsProductsAndBytes) {
  EXPECT_NEAR(floor_milliseconds({16384, 8192, 28672}, Float8Recipe::kRowwise), 19.73, 0.01);
  for (const LinearSize& size : torchao_sizes()) {
    const double bf16 = floor_milliseconds(size, std::nullopt);
    const double gw_hp = floor_milliseconds(size, Float8Recipe::kRowwiseWithGwHp);
    EXPECT_LT(floor_milliseconds(size, Float8Recipe::kRowwise), gw_hp);
    EXPECT_LT(gw_hp, bf16);
    EXPECT_LT(bf16, torchao_milliseconds(size)->bf16 * 1.05);
  }
}

std::vector<LinearTiming> two_timings() {
  return {{{8192, 4096, 1024}, {0.4, {0.25, 0.32}}}, {{64, 16, 32}, {0.5, {0.625, 0.5}}}};
}

TEST(Float8LinearBench, CsvHasALineForEachSize) {
  std::istringstream csv(as_csv(two_timings()));
  std::string header, first, second, end;
  std::getline(csv, header);
  std::getline(csv, first);
  std::getline(csv, second);
  EXPECT_EQ(header,
            "M,K,N,bf16_ms,rowwise_ms,rowwise_speedup,rowwise_floor_ms,rowwise_with_gw_hp_ms,"
            "rowwise_with_gw_hp_speedup,rowwise_with_gw_hp_floor_ms,torchao_bf16_ms,"
            "torchao_rowwise_ms,torchao_rowwise_with_gw_hp_ms");
  EXPECT_THAT(first, StartsWith("8192,4096,1024,0.4000,0.2500,1.6000,"));
  EXPECT_THAT(first, testing::EndsWith(",0.5040,0.7120,0.7690"));
  EXPECT_THAT(second, StartsWith("64,16,32,0.5000,0.6250,0.8000,"));
  EXPECT_THAT(second, testing::EndsWith(",,,"));
  EXPECT_FALSE(std::getline(csv, end));
}

TEST(Float8LinearBench, JsonHasTheSameColumns) {
  const nlohmann::ordered_json rows = as_json(two_timings());
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_EQ(rows[0]["K"], 4096);
  EXPECT_DOUBLE_EQ(rows[0]["rowwise_with_gw_hp_speedup"], 1.25);
  EXPECT_DOUBLE_EQ(rows[0]["torchao_rowwise_ms"], 0.712);
  EXPECT_TRUE(rows[1]["torchao_rowwise_ms"].is_null());
  std::string names;
  for (const auto& [name, value] : rows[1].items()) names += (names.empty() ? "" : ",") + name;
  EXPECT_THAT(as_csv(two_timings()), StartsWith(names + "\n"));
}

TEST(Float8LinearBench, TableShowsSpeedUpsAndWhatIsNotKnown) {
  const std::string table = as_table(two_timings());
  EXPECT_THAT(table, HasSubstr("1.60x"));
  EXPECT_THAT(table, HasSubstr("0.80x"));
  EXPECT_THAT(table, HasSubstr("0.712"));
  EXPECT_EQ(std::count(table.begin(), table.end(), '\n'), 4);
  EXPECT_THAT(table, testing::EndsWith("-\n"));
}

}  // namespace
}  // namespace titan
