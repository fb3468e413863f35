// Every row of the float8 op table on every device: the bits of the reference, nothing left
// unwritten, inputs left alone, the same bits twice.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include "lib/base/error.hpp"
#include "lib/float8/op_table.hpp"
#include "lib/ops/device.hpp"

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

Tensors copies(const Tensors& tensors) {
  Tensors result;
  for (const at::Tensor& tensor : tensors) result.push_back(tensor.clone());
  return result;
}

// Fresh memory from ATen holds NaN meanwhile.
Tensors run_poisoned(const Op& op, const Tensors& inputs) {
  at::globalContext().setDeterministicFillUninitializedMemory(true);
  at::globalContext().setDeterministicAlgorithms(true, /*warn_only=*/true);
  Tensors result = op.fused(inputs);
  at::globalContext().setDeterministicAlgorithms(false, false);
  at::globalContext().setDeterministicFillUninitializedMemory(false);
  return result;
}

void check(const Op& op, const Tensors& inputs) {
  const Tensors expected = op.reference(copies(inputs));
  const Tensors before = copies(inputs);
  const Tensors actual = run_poisoned(op, inputs);
  const Tensors again = run_poisoned(op, inputs);
  for (size_t i = 0; i < inputs.size(); ++i) {
    EXPECT_TRUE(same_bits(inputs[i], before[i])) << "input " << i << " was changed";
  }
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

class Float8Row : public testing::Test {
 public:
  explicit Float8Row(const Op& op) : op_(op) {}

 protected:
  static void SetUpTestSuite() { at::set_num_threads(1); }

  void check_cases(at::Device device) const {
    at::manual_seed(17);
    for (const ops::OpCase& op_case : op_.cases) {
      if (op_case.timed) continue;
      for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
        SCOPED_TRACE(concat(op_case.shape, ", ", dtype));
        const Tensors inputs = op_case.inputs(device, dtype);
        if (device.is_cpu() && inputs[0].numel() > kLargestOnCpu) continue;
        check(op_, inputs);
      }
    }
  }

  const Op& op_;
};

class OnCpu : public Float8Row {
 public:
  using Float8Row::Float8Row;
  void TestBody() override { check_cases(at::kCPU); }
};

class OnCuda : public Float8Row {
 public:
  using Float8Row::Float8Row;
  void TestBody() override {
    const ops::Device device = ops::Device::preferred();
    if (!device.is_cuda()) GTEST_SKIP() << "no CUDA device: kernels of " << op_.name;
    check_cases(device.torch());
  }
};

template <class Where>
void register_row(const char* suite, const Op& op) {
  testing::RegisterTest(suite, op.name.c_str(), nullptr, nullptr, __FILE__, __LINE__,
                        [&op]() -> Float8Row* { return new Where(op); });
}

[[maybe_unused]] const bool registered = [] {
  for (const Op& op : float8_op_table()) register_row<OnCpu>("Float8TableCpu", op);
  for (const Op& op : float8_op_table()) register_row<OnCuda>("Float8TableCuda", op);
  return true;
}();

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
