// Wrong shapes and dtypes are refused with a message that names them.
#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lib/base/error.hpp"
#include "lib/ops/rms_norm.hpp"
#include "lib/ops/rope.hpp"
#include "lib/ops/swiglu.hpp"

namespace titan::ops {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

TEST(OpShapes, RmsNorm) {
  const at::Tensor x = at::randn({4, 8});
  EXPECT_THAT([&] { rms_norm(x, at::ones({7}), 1e-5); },
              ThrowsMessage<Error>(HasSubstr("x[4, 8] Float and weight[7]")));
  EXPECT_THAT([&] { rms_norm(x, at::ones({8}, at::kBFloat16), 1e-5); },
              ThrowsMessage<Error>(HasSubstr("weight[8] BFloat16")));
  const at::Tensor weight = at::ones({8}), rstd = at::ones({4});
  EXPECT_THAT([&] { rms_norm_backward(x, x, weight, rstd, {}, at::empty({4}), false, nullptr); },
              ThrowsMessage<Error>(HasSubstr("dweight[4]")));
  EXPECT_THAT(
      [&] { rms_norm_backward(x, x, weight, rstd, {}, weight.to(at::kBFloat16), false, nullptr); },
      ThrowsMessage<Error>(HasSubstr("dweight[8] BFloat16")));
}

TEST(OpShapes, Swiglu) {
  EXPECT_THAT([] { swiglu(at::randn({4, 7})); }, ThrowsMessage<Error>(HasSubstr("[4, 7]")));
  EXPECT_THAT(
      [] {
        swiglu_backward_(at::randn({4, 8}), at::randn({4, 8}));
      },
      ThrowsMessage<Error>(HasSubstr("gate_up[4, 8]")));
}

TEST(OpShapes, Rope) {
  const at::Tensor table = rope_table(4, 8, {}, at::kCPU);
  EXPECT_THAT(
      [&] {
        rope_(at::randn({4, 30}), table, 2, 1, 4);
      },
      ThrowsMessage<Error>(HasSubstr("[4, 30]")));
  EXPECT_THAT(
      [&] {
        rope_(at::randn({8, 32}), table, 2, 1, 8);
      },
      ThrowsMessage<Error>(HasSubstr("table[S >= 8, 4, 2], got [4, 4, 2]")));
  EXPECT_THAT(
      [&] {
        rope_(at::randn({6, 32}), table, 2, 1, 4);
      },
      ThrowsMessage<Error>(HasSubstr("qkv[B * 4, 4 * head_dim]")));
}

}  // namespace
}  // namespace titan::ops
