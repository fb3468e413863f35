// The embedding where tokens and shapes are not ordinary, and of shards of its table.
#include "lib/ops/embedding.hpp"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include "lib/base/error.hpp"
#include "lib/ops/device.hpp"

namespace titan::ops {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

TEST(Embedding, ATokenOutsideTheTableIsFound) {
  const at::Tensor weight = at::randn({5, 8}), tokens = at::tensor({1, 5, -1, 4}, at::kInt);
  EXPECT_THROW(ops::embedding(tokens, weight), c10::Error);
}

TEST(Embedding, ATokenOutsideTheTableIsARowOfNaNOnCuda) {
  const Device device = Device::preferred();
  if (!device.is_cuda()) GTEST_SKIP() << "no CUDA device: the embedding kernel";
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    for (const int64_t width : {8, 7}) {
      const at::Tensor weight = at::randn({5, width}).to(device.torch(), dtype);
      const at::Tensor tokens = at::tensor({1, 5, -1, 4}, at::kInt).to(device.torch());
      const at::Tensor out = ops::embedding(tokens, weight).cpu();
      EXPECT_TRUE(out.slice(0, 1, 3).isnan().all().item<bool>());
      EXPECT_TRUE(at::equal(out[0], weight[1].cpu()));
      EXPECT_TRUE(at::equal(out[3], weight[4].cpu()));
    }
  }
}

// Tables cut in shards of the given sizes, on the CPU and on a GPU where there is one.
class EmbeddingShards : public testing::TestWithParam<at::DeviceType> {
 protected:
  void SetUp() override {
    if (GetParam() == at::kCUDA && !Device::preferred().is_cuda()) {
      GTEST_SKIP() << "no CUDA device: the embedding kernels on shards";
    }
    at::manual_seed(5);
  }

  at::TensorOptions floats() const { return at::TensorOptions().device(GetParam()); }
  at::TensorOptions integers() const { return floats().dtype(at::kInt); }
};

INSTANTIATE_TEST_SUITE_P(Devices, EmbeddingShards, testing::Values(at::kCPU, at::kCUDA),
                         [](const auto& info) { return info.param == at::kCPU ? "Cpu" : "Cuda"; });

constexpr int64_t kVocabulary = 23, kWidth = 9, kTokens = 200;
const std::vector<std::vector<int64_t>> kCuts = {{23}, {12, 11}, {6, 6, 6, 5}, {1, 20, 1, 1}};

TEST_P(EmbeddingShards, ForwardsAddUpToTheWhole) {
  const at::Tensor weight = at::randn({kVocabulary, kWidth}, floats());
  const at::Tensor tokens = at::randint(kVocabulary, {kTokens}, integers());
  const at::Tensor whole = ops::embedding(tokens, weight);
  for (const auto& rows : kCuts) {
    at::Tensor sum = at::zeros_like(whole);
    int64_t first = 0;
    for (const int64_t size : rows) {
      const at::Tensor part = ops::embedding(tokens, weight.narrow(0, first, size),
                                             {.first = first, .whole = kVocabulary});
      const at::Tensor mine = (tokens >= first).logical_and(tokens < first + size).unsqueeze(1);
      EXPECT_TRUE(at::equal(part, whole * mine));
      sum += part;
      first += size;
    }
    EXPECT_TRUE(at::equal(sum, whole));
  }
}

TEST_P(EmbeddingShards, BackwardsAreTheRowsOfTheWhole) {
  const at::Tensor dx = at::randn({kTokens, kWidth}, floats());
  const at::Tensor tokens = at::randint(kVocabulary, {kTokens}, integers());
  for (const bool accumulate : {false, true}) {
    const at::Tensor before = at::randn({kVocabulary, kWidth}, floats());
    at::Tensor whole = before.clone();
    embedding_backward(dx, tokens, whole, accumulate);
    for (const auto& rows : kCuts) {
      int64_t first = 0;
      for (const int64_t size : rows) {
        at::Tensor part = before.narrow(0, first, size).clone();
        embedding_backward(dx, tokens, part, accumulate, first);
        EXPECT_TRUE(at::equal(part, whole.narrow(0, first, size))) << first << " " << size;
        first += size;
      }
    }
  }
}

TEST_P(EmbeddingShards, OneThatNoTokenIsOfGivesZeros) {
  const at::Tensor tokens = at::full({5}, 3, integers());
  const at::Tensor weight = at::full({4, 8}, NAN, floats());
  const at::Tensor out = ops::embedding(tokens, weight, {.first = 4, .whole = 8});
  EXPECT_TRUE(at::equal(out, at::zeros_like(out)));
  at::Tensor dweight = at::full({4, 8}, NAN, floats());
  embedding_backward(at::full({5, 8}, NAN, floats()), tokens, dweight, false, 4);
  EXPECT_TRUE(at::equal(dweight, at::zeros_like(dweight)));
}

TEST_P(EmbeddingShards, ATokenOutsideTheVocabularyIsFoundByEveryShard) {
  const at::Tensor weight = at::randn({4, 8}, floats());
  for (const int64_t first : {0, 4, 6}) {
    for (const int token : {-1, 10, 2147483647}) {
      const at::Tensor tokens = at::full({2}, token, integers());
      const auto run = [&] {
        return ops::embedding(tokens, weight, {.first = first, .whole = 10});
      };
      if (GetParam() == at::kCPU) {
        EXPECT_THROW(run(), c10::Error) << first << " " << token;
      } else {
        EXPECT_TRUE(run().isnan().all().item<bool>()) << first << " " << token;
      }
    }
  }
}

TEST(Embedding, ShardsHaveTheGradientsOfAutograd) {
  constexpr int64_t kFirst = 6, kRows = 11;
  at::manual_seed(8);
  const at::Tensor tokens = at::randint(kVocabulary, {kTokens}, at::kInt);
  const at::Tensor weight = at::randn({kRows, kWidth}, at::kDouble).requires_grad_(true);
  const at::Tensor table =
      at::constant_pad_nd(weight, {0, 0, kFirst, kVocabulary - kFirst - kRows});
  const at::Tensor out = table.index_select(0, tokens), dx = at::randn_like(out);
  const at::Tensor expected = torch::autograd::grad({out}, {weight}, {dx})[0];

  const at::Tensor actual =
      ops::embedding(tokens, weight.detach(), {.first = kFirst, .whole = kVocabulary});
  EXPECT_TRUE(at::equal(actual, out.detach()));
  at::Tensor dweight = at::full({kRows, kWidth}, NAN, at::kDouble);
  embedding_backward(dx, tokens, dweight, false, kFirst);
  EXPECT_TRUE(at::allclose(dweight, expected, /*rtol=*/1e-12, /*atol=*/1e-12));
}

TEST(Embedding, ShapesAreChecked) {
  const at::Tensor tokens = at::zeros({3}, at::kInt), dx = at::zeros({3, 8});
  EXPECT_THAT(
      [&] {
        ops::embedding(tokens.to(at::kLong), at::zeros({5, 8}));
      },
      ThrowsMessage<Error>(HasSubstr("tokens[3] Long")));
  EXPECT_THAT(
      [&] {
        ops::embedding(tokens, at::zeros({5, 8}), {.first = 6, .whole = 10});
      },
      ThrowsMessage<Error>(HasSubstr("weight[5, 8] from row 6")));
  EXPECT_THAT(
      [&] {
        embedding_backward(dx, tokens, at::zeros({5, 7}), false);
      },
      ThrowsMessage<Error>(HasSubstr("dweight[5, 7]")));
  EXPECT_THAT(
      [&] {
        embedding_backward(dx, tokens, at::zeros({5, 8}, at::kBFloat16), false);
      },
      ThrowsMessage<Error>(HasSubstr("BFloat16")));
}

}  // namespace
}  // namespace titan::ops
