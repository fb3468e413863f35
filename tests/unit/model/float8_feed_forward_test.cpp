// A norm and a feed-forward in float8, whose ops write the copies that the products read, against
// the separate ops, bit for bit: every mix of precisions, on the CPU and (skipped without one) the
// GPU.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "lib/model/feed_forward.hpp"
#include "lib/model/pre_norm.hpp"
#include "lib/ops/rms_norm.hpp"
#include "lib/ops/swiglu.hpp"

namespace titan {
namespace {

constexpr int64_t kTokens = 96, kDim = 64, kHidden = 160;
constexpr double kEps = 1e-5;
enum Index : size_t { kNorm, kGateUp, kDown };

// The recipes of w1, w3 and w2.
struct Mix {
  const char* name;
  std::optional<Float8Recipe> gate, up, down;
};
constexpr auto kRowwise = Float8Recipe::kRowwise;
constexpr auto kGwHp = Float8Recipe::kRowwiseWithGwHp;

class Float8FeedForward : public testing::TestWithParam<std::tuple<bool, Mix>> {
 protected:
  void SetUp() override {
    if (std::get<0>(GetParam())) device = ops::Device::preferred();
    if (std::get<0>(GetParam()) && !device.is_cuda()) GTEST_SKIP() << "no CUDA device";
    at::manual_seed(5);
    const Mix& mix = std::get<1>(GetParam());
    weights = {norm(), linear({{mix.gate, kHidden}, {mix.up, kHidden}}, kDim),
               linear({{mix.down, kDim}}, kHidden)};
    x = randn({kTokens, kDim});
    dy = randn({kTokens, kDim});
    written = gradients();
    expected = gradients();
  }

  at::Tensor randn(at::IntArrayRef sizes) const {
    const bool cuda = device.is_cuda();
    return at::randn(sizes).to(device.torch(), cuda ? at::kBFloat16 : at::kFloat);
  }
  Weight norm() const { return {{kDim}, randn({kDim}), {}}; }

  using Member = std::pair<std::optional<Float8Recipe>, int64_t>;
  Weight linear(const std::vector<Member>& members, int64_t in_features) const {
    Weight weight;
    int64_t rows = 0;
    for (const auto& [recipe, out_features] : members) {
      if (weight.runs.empty() || weight.runs.back().recipe != recipe) {
        weight.runs.push_back(
            {{.first_row = rows, .rows = 0, .recipe = recipe, .emulated = !device.is_cuda()},
             {},
             {}});
      }
      weight.runs.back().rows += out_features;
      rows += out_features;
    }
    weight.shape = {rows, in_features};
    weight.compute = 0.2 * randn(weight.shape);
    for (WeightRun& run : weight.runs) {
      if (!run.recipe) continue;
      const auto copies = float8::quantize_rows_and_columns(
          weight.compute.narrow(0, run.first_row, run.rows),
          *run.recipe == kRowwise ? float8::ColumnScales::kPerColumn
                                  : float8::ColumnScales::kPerTensor);
      run.row = copies.row;
      run.column = copies.column;
    }
    return weight;
  }

  Gradients gradients() const {
    Gradients result;
    for (const Weight& weight : weights) {
      result.tensors.push_back(at::full(weight.shape, NAN, x.options().dtype(at::kFloat)));
    }
    return result;
  }

  ops::Device device = ops::Device::cpu();
  Weights weights;
  at::Tensor x, dy;
  Gradients written, expected;
};

TEST_P(Float8FeedForward, MatchesTheSeparateOps) {
  const StepContext context{device, 1, kTokens, {}};
  const Weight &gate_up = weights[kGateUp], &down = weights[kDown];

  const PreNorm norm(kNorm, kGateUp, kEps);
  const FeedForward feed_forward(kGateUp, kDown);
  PreNorm::Saved norm_saved;
  FeedForward::Saved saved;
  const at::Tensor y = feed_forward.forward(
      context, weights, norm.forward_with_linear(context, weights, x, norm_saved), x, saved);
  const LinearGradient dgate_up = feed_forward.backward(context, weights, written, dy, saved);
  const PreNorm::Backward dx =
      norm.backward(weights, written, linear_backward_input(context, weights[kGateUp], dgate_up), x,
                    norm_saved, dy, /*producer=*/&down);
  linear_backward_weight(context, weights[kGateUp], dgate_up, dx.y, written[kGateUp],
                         written.accumulate);

  const ops::RmsNormResult normed = ops::rms_norm(x, weights[kNorm].compute, kEps);
  const LinearInput input = linear_input(gate_up, normed.y);
  at::Tensor product = linear_forward(context, gate_up, input);
  at::Tensor hidden = ops::swiglu(product);
  const LinearInput hidden_input = linear_input(down, hidden);
  EXPECT_TRUE(at::equal(y, linear_forward(context, down, hidden_input, x)));

  const LinearGradient gradient = linear_gradient(down, dy);
  at::Tensor dhidden = linear_backward_input(context, down, gradient);
  linear_backward_weight(context, down, gradient,
                         wgrad_input(down, hidden, hidden_input.copy.column_amax), expected[kDown],
                         false);
  ops::swiglu_backward_(dhidden, product);
  const LinearGradient dproduct = linear_gradient(gate_up, product);
  at::Tensor normed_again;
  const at::Tensor dx_expected = ops::rms_norm_backward(
      linear_backward_input(context, gate_up, dproduct), x, weights[kNorm].compute, normed.rstd, dy,
      expected[kNorm], false, &normed_again);
  linear_backward_weight(context, gate_up, dproduct,
                         wgrad_input(gate_up, normed_again, input.copy.column_amax),
                         expected[kGateUp], false);
  EXPECT_TRUE(at::equal(dgate_up.dy, dproduct.dy));
  EXPECT_TRUE(at::equal(dx.dx, dx_expected));
  for (const Index index : {kNorm, kGateUp, kDown}) {
    EXPECT_TRUE(at::equal(written[index], expected[index])) << index;
  }
  if (dx.copy.row.defined()) {
    const LinearGradient ours = linear_gradient(down, dx.dx, dx.copy);
    const LinearGradient theirs = linear_gradient(down, dx_expected);
    for (const bool column : {false, true}) {
      const auto& [row, col] = ours.copies.front();
      const auto& [row_expected, col_expected] = theirs.copies.front();
      const Float8Tensor &a = column ? col : row, &b = column ? col_expected : row_expected;
      ASSERT_EQ(a.defined(), b.defined());
      if (!a.defined()) continue;
      EXPECT_TRUE(at::equal(a.values.view(at::kByte), b.values.view(at::kByte)));
      EXPECT_TRUE(at::equal(a.inverse_scales, b.inverse_scales));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    , Float8FeedForward,
    testing::Combine(testing::Bool(), testing::Values(Mix{"Rowwise", kRowwise, kRowwise, kRowwise},
                                                      Mix{"GwHp", kGwHp, kGwHp, kGwHp},
                                                      Mix{"GateUpOnly", kRowwise, kRowwise, {}},
                                                      Mix{"DownOnly", {}, {}, kRowwise},
                                                      Mix{"GateOnly", kRowwise, {}, kGwHp},
                                                      Mix{"UpOnly", {}, kRowwise, kRowwise},
                                                      Mix{"None", {}, {}, {}})),
    [](const auto& info) {
      return std::string(std::get<1>(info.param).name) +
             (std::get<0>(info.param) ? "OnCuda" : "OnCpu");
    });

}  // namespace
}  // namespace titan
