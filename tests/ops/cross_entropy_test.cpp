// The cross-entropy where labels and logits are not ordinary.
#include "lib/ops/cross_entropy.hpp"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "lib/base/error.hpp"
#include "lib/ops/device.hpp"

namespace titan::ops {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

const float kInfinity = INFINITY;

// Each test runs on the CPU, and on a GPU where there is one.
class CrossEntropy : public testing::TestWithParam<at::DeviceType> {
 protected:
  void SetUp() override {
    if (GetParam() == at::kCUDA && !Device::preferred().is_cuda()) {
      GTEST_SKIP() << "no CUDA device: the cross-entropy kernel";
    }
  }

  at::Tensor random_logits(int64_t rows, int64_t vocabulary) const {
    return at::randn({rows, vocabulary}, at::Device(GetParam()));
  }

  struct Result {
    at::Tensor gradient, losses;  // on the CPU
  };
  Result run(const at::Tensor& logits, const std::vector<int>& labels) const {
    const at::Tensor gradient = logits.clone();
    const at::Tensor losses = at::full({logits.size(0)}, -1.0, logits.options().dtype(at::kFloat));
    cross_entropy_(gradient, at::tensor(labels, at::kInt).to(logits.device()),
                   at::ones({1}, losses.options()), losses);
    const at::Tensor again = at::full_like(losses, -1.0);
    cross_entropy_forward(logits, at::tensor(labels, at::kInt).to(logits.device()), again);
    EXPECT_TRUE(at::equal(again.cpu().nan_to_num(-7), losses.cpu().nan_to_num(-7)));
    return {gradient.cpu(), losses.cpu()};
  }
};

INSTANTIATE_TEST_SUITE_P(Devices, CrossEntropy, testing::Values(at::kCPU, at::kCUDA),
                         [](const auto& info) { return info.param == at::kCPU ? "Cpu" : "Cuda"; });

TEST_P(CrossEntropy, UniformLogits) {
  const Result result = run(at::zeros({1, 4}, at::Device(GetParam())), {2});
  EXPECT_FLOAT_EQ(result.losses[0].item<float>(), std::log(4.0f));
  at::Tensor expected = at::full({1, 4}, 0.25f);
  expected[0][2] = -0.75f;
  EXPECT_TRUE(at::allclose(result.gradient, expected));
}

TEST_P(CrossEntropy, IgnoredRowsAreZeroWhateverTheyHold) {
  at::Tensor logits = random_logits(3, 1001);
  logits[1].fill_(NAN);
  const Result result = run(logits, {5, -100, 1000});
  EXPECT_EQ(result.losses[1].item<float>(), 0.0f);
  EXPECT_EQ(result.gradient[1].count_nonzero().item<int64_t>(), 0);
  EXPECT_TRUE(result.gradient.isfinite().all().item<bool>());
  EXPECT_TRUE(result.losses.isfinite().all().item<bool>());
}

TEST_P(CrossEntropy, LabelsOutOfRangeGiveANaNLoss) {
  const Result result = run(random_logits(4, 264), {264, -1, 2147483647, 263});
  EXPECT_TRUE(result.losses.slice(0, 0, 3).isnan().all().item<bool>());
  EXPECT_TRUE(std::isfinite(result.losses[3].item<float>()));
  // The rest of such a row is still a softmax, and no other row is touched.
  EXPECT_NEAR(result.gradient[0].sum().item<double>(), 1.0, 1e-5);
  EXPECT_NEAR(result.gradient[3].sum().item<double>(), 0.0, 1e-5);
}

TEST_P(CrossEntropy, NonFiniteLogitsGiveANaNLoss) {
  at::Tensor logits = random_logits(3, 2048);
  logits[0][7] = NAN;
  logits[1][2047] = kInfinity;
  const Result result = run(logits, {3, 3, 3});
  EXPECT_TRUE(std::isnan(result.losses[0].item<float>()));
  EXPECT_TRUE(std::isnan(result.losses[1].item<float>()));
  EXPECT_TRUE(std::isfinite(result.losses[2].item<float>()));
}

TEST_P(CrossEntropy, MaskedLogitsHaveProbabilityZero) {
  at::Tensor logits = random_logits(1, 4096);
  logits.slice(1, 0, 4000).fill_(-kInfinity);
  const Result result = run(logits, {4095});
  const at::Tensor expected =
      at::cross_entropy_loss(logits.slice(1, 4000).cpu(), at::full({1}, 95, at::kLong));
  EXPECT_NEAR(result.losses[0].item<double>(), expected.item<double>(), 1e-5);
  EXPECT_EQ(result.gradient.slice(1, 0, 4000).count_nonzero().item<int64_t>(), 0);
}

TEST_P(CrossEntropy, LargeLogitsDoNotOverflow) {
  at::Tensor logits = at::full({1, 1000}, -3e4f, at::Device(GetParam()));
  logits[0][10] = 3e4f;
  logits[0][11] = 3e4f;
  const Result result = run(logits, {10});
  EXPECT_NEAR(result.losses[0].item<double>(), std::log(2.0), 1e-5);
  EXPECT_NEAR(result.gradient[0][10].item<double>(), -0.5, 1e-6);
}

TEST(CrossEntropyShapes, AreChecked) {
  const at::Tensor logits = at::zeros({4, 8}), labels = at::zeros({4}, at::kInt);
  const at::Tensor one = at::ones({1}), losses = at::zeros({4});
  EXPECT_THAT([&] { cross_entropy_(logits, labels.to(at::kLong), one, losses); },
              ThrowsMessage<Error>(HasSubstr("labels[4] Long")));
  EXPECT_THAT([&] { cross_entropy_(logits, labels, one, at::zeros({3})); },
              ThrowsMessage<Error>(HasSubstr("losses[3]")));
  EXPECT_THAT([&] { cross_entropy_(logits.t(), labels, one, losses); },
              ThrowsMessage<Error>(HasSubstr("contiguous")));
  EXPECT_THAT([&] { cross_entropy_(logits, labels, one.to(at::kDouble), losses); },
              ThrowsMessage<Error>(HasSubstr("inverse_valid_tokens")));
}

}  // namespace
}  // namespace titan::ops
