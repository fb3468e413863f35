// The cross-entropy over shards of the vocabulary against the one over whole rows, however the
// columns are cut, and where labels and logits are not ordinary.
#include "lib/ops/cross_entropy_shard.hpp"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <cmath>

#include "lib/base/error.hpp"
#include "lib/ops/cross_entropy.hpp"
#include "lib/ops/device.hpp"
#include "lib/ops/element_type.hpp"

namespace titan::ops {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

const float kInfinity = INFINITY;
constexpr double kInverseValidTokens = 0.37;

// How many columns each shard has.
using Cut = std::vector<int64_t>;

struct Result {
  at::Tensor gradient, losses;  // on the CPU
};

at::Tensor inverse_valid_tokens(const at::Tensor& losses) {
  return at::full({1}, kInverseValidTokens, losses.options());
}

at::Tensor poisoned_losses(const at::Tensor& logits) {
  return at::full({logits.size(0)}, -1.0, logits.options().dtype(compute_type(logits)));
}

Result run_whole(const at::Tensor& logits, const at::Tensor& labels) {
  const at::Tensor gradient = logits.clone(), losses = poisoned_losses(logits);
  cross_entropy_(gradient, labels, inverse_valid_tokens(losses), losses);
  return {gradient.cpu(), losses.cpu()};
}

bool same_bits(const at::Tensor& a, const at::Tensor& b) {
  return at::equal(a.contiguous().view(at::kByte), b.contiguous().view(at::kByte));
}

// Every shard's gradient side by side. All shards must compute the same losses, and so must the
// statistics alone.
Result run_shards(const at::Tensor& logits, const at::Tensor& labels, const Cut& cut) {
  std::vector<at::Tensor> parts, statistics, gradients;
  for (const at::Tensor& part : logits.split_with_sizes(cut, 1)) {
    parts.push_back(part.clone(at::MemoryFormat::Contiguous));
  }
  std::vector<VocabularyShard> shards;
  int64_t first = 0;
  for (const int64_t columns : cut) {
    shards.push_back({.first = first, .whole = logits.size(1)});
    first += columns;
  }
  for (size_t i = 0; i < cut.size(); ++i) {
    statistics.push_back(cross_entropy_statistics(parts[i], labels, shards[i]));
  }
  const at::Tensor all = at::stack(statistics), losses = poisoned_losses(logits);
  cross_entropy_losses(all, labels, logits.size(1), losses);
  for (size_t i = 0; i < cut.size(); ++i) {
    const at::Tensor again = poisoned_losses(logits);
    cross_entropy_from_statistics_(parts[i], labels, shards[i], all, inverse_valid_tokens(again),
                                   again);
    EXPECT_TRUE(same_bits(again, losses)) << "shard " << i;
    gradients.push_back(parts[i]);
  }
  return {at::cat(gradients, 1).cpu(), losses.cpu()};
}

// Each test runs on the CPU, and on a GPU where there is one.
class CrossEntropyShards : public testing::TestWithParam<at::DeviceType> {
 protected:
  static void SetUpTestSuite() { at::set_num_threads(1); }
  void SetUp() override {
    if (GetParam() == at::kCUDA && !Device::preferred().is_cuda()) {
      GTEST_SKIP() << "no CUDA device: the cross-entropy kernels over shards";
    }
    at::manual_seed(3);
  }

  at::Device device() const { return at::Device(GetParam()); }
  at::Tensor labels(const std::vector<int>& values) const {
    return at::tensor(values, at::kInt).to(device());
  }
  at::Tensor random_logits(int64_t rows, int64_t vocabulary) const {
    return 3 * at::randn({rows, vocabulary}, device());
  }
};

INSTANTIATE_TEST_SUITE_P(Devices, CrossEntropyShards, testing::Values(at::kCPU, at::kCUDA),
                         [](const auto& info) { return info.param == at::kCPU ? "Cpu" : "Cuda"; });

// One shard, two, four; odd sizes, a single column, and on CUDA several sweeps of a block's
// threads.
const std::vector<Cut> kCuts = {
    {2048},     {1024, 1024},       {512, 512, 512, 512}, {1001},
    {501, 500}, {301, 300, 399, 1}, {1, 2, 700, 298},     {20000, 16384, 1, 8192}};

int64_t vocabulary_of(const Cut& cut) {
  int64_t sum = 0;
  for (const int64_t columns : cut) sum += columns;
  return sum;
}

// Of the last and first column of every shard, ignored, and random.
std::vector<int> labels_for(const Cut& cut) {
  std::vector<int> labels = {-100};
  int64_t first = 0;
  for (const int64_t columns : cut) {
    labels.push_back(static_cast<int>(first));
    labels.push_back(static_cast<int>(first + columns - 1));
    first += columns;
  }
  labels.push_back(static_cast<int>(first / 3));
  labels.push_back(-100);
  return labels;
}

TEST(CrossEntropyShardsInDouble, EqualTheWholeAndItsAutograd) {
  at::set_num_threads(1);
  at::manual_seed(4);
  for (const Cut& cut : kCuts) {
    const at::Tensor labels = at::tensor(labels_for(cut), at::kInt);
    const at::Tensor logits =
        (3 * at::randn({labels.size(0), vocabulary_of(cut)}, at::kDouble)).requires_grad_(true);
    SCOPED_TRACE(concat(vocabulary_of(cut), " in ", cut.size()));
    const Result whole = run_whole(logits.detach(), labels);
    const Result shards = run_shards(logits.detach(), labels, cut);
    EXPECT_TRUE(at::allclose(shards.losses, whole.losses, /*rtol=*/1e-13, /*atol=*/1e-13));
    EXPECT_TRUE(at::allclose(shards.gradient, whole.gradient, /*rtol=*/1e-11, /*atol=*/1e-15));

    const at::Tensor loss = at::cross_entropy_loss(logits, labels.to(at::kLong), {},
                                                   at::Reduction::Sum, /*ignore_index=*/-100);
    const at::Tensor gradient = torch::autograd::grad({loss}, {logits})[0] * kInverseValidTokens;
    EXPECT_NEAR(shards.losses.sum().item<double>(), loss.item<double>(), 1e-11);
    EXPECT_TRUE(at::allclose(shards.gradient, gradient, /*rtol=*/1e-11, /*atol=*/1e-15));
  }
}

TEST_P(CrossEntropyShards, AreAsExactAsTheWhole) {
  for (const Cut& cut : kCuts) {
    for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
      SCOPED_TRACE(concat(vocabulary_of(cut), " in ", cut.size(), ", ", dtype));
      const at::Tensor targets = labels(labels_for(cut));
      const at::Tensor logits = random_logits(targets.size(0), vocabulary_of(cut)).to(dtype);
      const Result exact = run_whole(logits.cpu().to(at::kDouble), targets.cpu());
      const Result whole = run_whole(logits, targets), shards = run_shards(logits, targets, cut);
      ASSERT_EQ(shards.gradient.scalar_type(), dtype);
      const auto error = [](const at::Tensor& actual, const at::Tensor& expected) {
        return (actual.to(at::kDouble) - expected).abs().max().item<double>();
      };
      EXPECT_LE(error(shards.losses, exact.losses), 2 * error(whole.losses, exact.losses) + 2e-6);
      EXPECT_LE(error(shards.gradient, exact.gradient),
                2 * error(whole.gradient, exact.gradient) + 1e-6);
    }
  }
}

TEST_P(CrossEntropyShards, StatisticsAreOfTheirColumns) {
  at::Tensor logits =
      at::tensor({1.0f, 3.0f, 2.0f, -kInfinity}, device()).unsqueeze(0).repeat({4, 1});
  logits[3].fill_(NAN);
  const at::Tensor statistics =
      cross_entropy_statistics(logits, labels({12, 9, 14, -100}), {.first = 10, .whole = 20}).cpu();
  const double sum = 1 + std::exp(-1.0) + std::exp(-2.0);
  for (int64_t row = 0; row < 3; ++row) {
    EXPECT_EQ(statistics[row][0].item<float>(), 3.0f);
    EXPECT_NEAR(statistics[row][1].item<double>(), sum, 2e-6);
    EXPECT_EQ(statistics[row][2].item<float>(), row == 0 ? 2.0f : 0.0f);
  }
  EXPECT_EQ(statistics[3][0].item<float>(), std::numeric_limits<float>::lowest());
  EXPECT_EQ(statistics[3].slice(0, 1).count_nonzero().item<int64_t>(), 0);
}

TEST_P(CrossEntropyShards, IgnoredRowsAreZeroWhateverTheyHold) {
  at::Tensor logits = random_logits(3, 1001);
  logits[1].fill_(NAN);
  const Result result = run_shards(logits, labels({5, -100, 1000}), {500, 501});
  EXPECT_EQ(result.losses[1].item<float>(), 0.0f);
  EXPECT_EQ(result.gradient[1].count_nonzero().item<int64_t>(), 0);
  EXPECT_TRUE(result.gradient.isfinite().all().item<bool>());
  EXPECT_TRUE(result.losses.isfinite().all().item<bool>());
}

TEST_P(CrossEntropyShards, LabelsOutsideTheVocabularyGiveANaNLoss) {
  const Result result =
      run_shards(random_logits(4, 264), labels({264, -1, 2147483647, 263}), {88, 88, 88});
  EXPECT_TRUE(result.losses.slice(0, 0, 3).isnan().all().item<bool>());
  EXPECT_TRUE(std::isfinite(result.losses[3].item<float>()));
  // The rest of such a row is still a softmax, and no other row is touched.
  EXPECT_NEAR(result.gradient[0].sum().item<double>(), kInverseValidTokens, 1e-5);
  EXPECT_NEAR(result.gradient[3].sum().item<double>(), 0.0, 1e-5);
}

TEST_P(CrossEntropyShards, NonFiniteLogitsGiveANaNLossAndGradientOnAllShards) {
  at::Tensor logits = random_logits(4, 2048);
  logits[0][7] = NAN;
  logits[1][2047] = kInfinity;
  logits[3].fill_(-kInfinity);
  const Result result = run_shards(logits, labels({3, 3, 3, 3}), {1024, 512, 512});
  for (const int64_t row : {0, 1, 3}) {
    EXPECT_TRUE(std::isnan(result.losses[row].item<float>())) << row;
    EXPECT_TRUE(result.gradient[row].isnan().all().item<bool>()) << row;
  }
  EXPECT_TRUE(std::isfinite(result.losses[2].item<float>()));
  EXPECT_TRUE(result.gradient[2].isfinite().all().item<bool>());
}

TEST_P(CrossEntropyShards, AShardOfMaskedLogitsHasProbabilityZero) {
  at::Tensor logits = random_logits(2, 4096);
  logits.slice(1, 0, 4000).fill_(-kInfinity);
  const at::Tensor targets = labels({4095, 17});
  const Result result = run_shards(logits, targets, {1024, 1024, 1024, 1024});
  const Result whole = run_whole(logits, targets);
  EXPECT_NEAR(result.losses[0].item<double>(), whole.losses[0].item<double>(), 1e-5);
  EXPECT_EQ(result.losses[1].item<float>(), kInfinity);
  EXPECT_EQ(result.gradient[0].slice(0, 0, 4000).count_nonzero().item<int64_t>(), 0);
  EXPECT_TRUE(at::allclose(result.gradient, whole.gradient, /*rtol=*/1e-5, /*atol=*/1e-7));
}

TEST_P(CrossEntropyShards, LargeLogitsDoNotOverflow) {
  at::Tensor logits = at::full({1, 1000}, -3e4f, device());
  logits[0][10] = 3e4f;
  logits[0][990] = 3e4f;
  const Result result = run_shards(logits, labels({10}), {250, 250, 250, 250});
  EXPECT_NEAR(result.losses[0].item<double>(), std::log(2.0), 1e-5);
  EXPECT_NEAR(result.gradient[0][10].item<double>(), -0.5 * kInverseValidTokens, 1e-6);
  EXPECT_NEAR(result.gradient[0][990].item<double>(), 0.5 * kInverseValidTokens, 1e-6);
}

TEST(CrossEntropyShardShapes, AreChecked) {
  const at::Tensor logits = at::zeros({4, 8}), labels = at::zeros({4}, at::kInt);
  const at::Tensor one = at::ones({1}), losses = at::zeros({4}), all = at::zeros({2, 4, 3});
  const VocabularyShard shard{.first = 8, .whole = 16};
  const auto run = [&](const at::Tensor& statistics, const at::Tensor& inverse,
                       const at::Tensor& out) {
    cross_entropy_from_statistics_(logits, labels, shard, statistics, inverse, out);
  };
  EXPECT_THAT([&] { cross_entropy_statistics(logits, labels.to(at::kLong), shard); },
              ThrowsMessage<Error>(HasSubstr("labels[4] Long")));
  EXPECT_THAT([&] { cross_entropy_statistics(logits.t(), labels, shard); },
              ThrowsMessage<Error>(HasSubstr("contiguous")));
  EXPECT_THAT([&] { cross_entropy_statistics(logits, labels, {.first = 9, .whole = 16}); },
              ThrowsMessage<Error>(HasSubstr("8 columns from 9")));
  EXPECT_THAT(
      [&] {
        run(at::zeros({2, 4, 2}), one, losses);
      },
      ThrowsMessage<Error>(HasSubstr("statistics[2, 4, 2]")));
  EXPECT_THAT([&] { run(all, one, at::zeros({3})); }, ThrowsMessage<Error>(HasSubstr("losses[3]")));
  EXPECT_THAT([&] { run(all, one.to(at::kDouble), losses); },
              ThrowsMessage<Error>(HasSubstr("inverse_valid_tokens")));
  EXPECT_THAT([&] { run(all.to(at::kDouble), one, losses.to(at::kDouble)); },
              ThrowsMessage<Error>(HasSubstr("Float on the logits' device")));
  EXPECT_THAT([&] { cross_entropy_losses(all, labels, 16, losses.to(at::kDouble)); },
              ThrowsMessage<Error>(HasSubstr("losses[4] Double")));
}

}  // namespace
}  // namespace titan::ops
