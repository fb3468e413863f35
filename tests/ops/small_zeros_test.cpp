// Zeros cut from one piece: zero whatever was written to those before, and nobody else's.
#include "lib/ops/small_zeros.hpp"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <vector>

#include "lib/ops/device.hpp"

namespace titan::ops {
namespace {

TEST(SmallZeros, AreZeroAndApart) {
  if (!Device::preferred().is_cuda()) GTEST_SKIP() << "no CUDA device";
  std::vector<at::Tensor> kept;
  for (int i = 0; i < 300; ++i) {  // several pieces; one is larger than a piece
    const int64_t count = i == 150 ? (1 << 20) : 1 + 37 * i;
    const at::Tensor zeros = small_zeros(count);
    ASSERT_EQ(zeros.sizes(), at::IntArrayRef({count}));
    ASSERT_EQ(zeros.scalar_type(), at::kFloat);
    ASSERT_EQ(reinterpret_cast<uintptr_t>(zeros.const_data_ptr()) % 256, 0u);
    ASSERT_TRUE((zeros == 0).all().item<bool>()) << i;
    zeros.fill_(i + 1);
    if (i % 3 != 0) kept.push_back(zeros);  // the others' memory is free again
  }
  for (const at::Tensor& tensor : kept) {
    EXPECT_TRUE((tensor == tensor[0]).all().item<bool>());
  }
}

}  // namespace
}  // namespace titan::ops
