// The embedding where tokens and shapes are not ordinary.
#include "lib/ops/embedding.hpp"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

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

TEST(Embedding, ShapesAreChecked) {
  const at::Tensor tokens = at::zeros({3}, at::kInt), dx = at::zeros({3, 8});
  EXPECT_THAT(
      [&] {
        ops::embedding(tokens.to(at::kLong), at::zeros({5, 8}));
      },
      ThrowsMessage<Error>(HasSubstr("tokens[3] Long")));
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
