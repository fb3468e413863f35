// Every row of the float8 op table on every device: the bits of the reference, nothing left
// unwritten, inputs left alone, the same bits twice.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "lib/base/error.hpp"
#include "lib/float8/op_table.hpp"
#include "tests/ops/op_table_testing.hpp"

namespace titan::float8 {
namespace {

using ops::Op;
using ops::Tensors;

// The CPU runs the references themselves: a few small cases show that they work.
constexpr int64_t kLargestOnCpu = 1 << 15;

// The bits of a tensor, all NaNs made one: their sign and payload mean nothing.
at::Tensor bits(const at::Tensor& tensor) {
  if (tensor.scalar_type() == at::kFloat8_e4m3fn) {
    const at::Tensor bytes = tensor.contiguous().view(at::kByte);
    return bytes.masked_fill(bytes.bitwise_and(0x7f) == 0x7f, 0x7f);
  }
  return tensor.masked_fill(tensor.isnan(), NAN).contiguous().reshape(-1).view(at::kByte);
}

bool same_bits(const at::Tensor& a, const at::Tensor& b) {
  return a.sizes() == b.sizes() && a.scalar_type() == b.scalar_type() &&
         at::equal(bits(a), bits(b));
}

void check(const Op& op, const Tensors& inputs) {
  const Tensors expected = op.reference(ops::copies(inputs));
  const auto [actual, again] = ops::run_twice(op, inputs, same_bits);
  ASSERT_EQ(actual.size(), expected.size());
  for (size_t i = 0; i < actual.size(); ++i) {
    SCOPED_TRACE(concat("output ", i));
    ASSERT_EQ(actual[i].sizes(), expected[i].sizes());
    ASSERT_EQ(actual[i].scalar_type(), expected[i].scalar_type());
    EXPECT_TRUE(actual[i].is_contiguous());
    if (!same_bits(actual[i], expected[i])) {
      const at::Tensor wrong = bits(actual[i]) != bits(expected[i]);
      ADD_FAILURE() << wrong.sum().item<int64_t>() << " of " << wrong.numel()
                    << " bytes differ, the first at "
                    << wrong.reshape(-1).nonzero()[0].item<int64_t>();
    }
    EXPECT_TRUE(same_bits(actual[i], again[i])) << "a second run gave other bits";
  }
}

[[maybe_unused]] const bool registered =
    ops::register_table("Float8Table", float8_op_table(), check, kLargestOnCpu);

TEST(Float8TableChecker, FindsOneByte) {
  const at::Tensor zeros = at::zeros({4, 4}).to(at::kFloat8_e4m3fn);
  at::Tensor other = zeros.clone();
  EXPECT_TRUE(same_bits(zeros, other));
  other.view(at::kByte)[2][3] = 0x80;
  EXPECT_FALSE(same_bits(zeros, other));
  other.view(at::kByte).fill_(0xff);
  EXPECT_TRUE(same_bits(other, at::full({4, 4}, NAN).to(at::kFloat8_e4m3fn)));
}

}  // namespace
}  // namespace titan::float8
