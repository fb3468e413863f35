// Every row of the op table on every device: numerics against fp64, nothing left unwritten, inputs
// left alone, the same bits twice.
#include "lib/ops/op_table.hpp"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "lib/base/error.hpp"
#include "tests/ops/op_table_testing.hpp"

namespace titan::ops {

namespace {

// Sums of fp32 terms in another order than the reference's differ by this much; 16 units of the
// last place of 1.
constexpr double kRounding = 16.0 / (1 << 24);

Tensors upcast(const Tensors& tensors) {
  Tensors result;
  for (const at::Tensor& tensor : tensors) {
    result.push_back(tensor.is_floating_point() ? tensor.to(at::kDouble) : tensor.clone());
  }
  return result;
}

// The largest error of a row, relative to the norm of an average row; tensors of one dimension are
// one row. Finds a single wrong element that would drown in the norm of the whole.
double worst_row_error(const at::Tensor& actual, const at::Tensor& exact) {
  if (exact.numel() == 0) return 0;
  const at::Tensor rows = exact.dim() > 1 ? exact.flatten(1) : exact.reshape({1, -1});
  const at::Tensor difference = actual.to(at::kDouble).reshape(rows.sizes()) - rows;
  const double worst = difference.norm(2, 1).max().item<double>();
  const double average = rows.square().sum(1).mean().sqrt().item<double>();
  return average > 0 ? worst / average : worst;
}

bool same_bits(const at::Tensor& a, const at::Tensor& b) {
  return a.sizes() == b.sizes() && a.scalar_type() == b.scalar_type() &&
         at::equal(a.reshape(-1).view(at::kByte), b.reshape(-1).view(at::kByte));
}

void check(const Op& op, const Tensors& inputs) {
  const Tensors exact = op.reference(upcast(inputs));
  const Tensors expected = op.reference(copies(inputs));
  const auto [actual, again] = run_twice(op, inputs, same_bits);

  ASSERT_EQ(actual.size(), exact.size());
  for (size_t i = 0; i < actual.size(); ++i) {
    SCOPED_TRACE(concat("output ", i));
    ASSERT_EQ(actual[i].sizes(), exact[i].sizes());
    EXPECT_EQ(actual[i].scalar_type(), expected[i].scalar_type());
    const double bound = 2 * worst_row_error(expected[i], exact[i]) + kRounding;
    EXPECT_LE(worst_row_error(actual[i], exact[i]), bound);
    EXPECT_TRUE(same_bits(actual[i], again[i])) << "a second run gave other bits";
  }
}

[[maybe_unused]] const bool registered = register_table("OpTable", op_table(), check);

// The checker itself: it must find an unwritten output and a single wrong element.
TEST(OpTableChecker, PoisonedMemoryHoldsNaN) {
  PoisonedMemory poisoned;
  EXPECT_TRUE(at::empty({5}, at::kFloat).isnan().all().item<bool>());
  EXPECT_TRUE(at::empty({5}, at::kBFloat16).isnan().all().item<bool>());
}

TEST(OpTableChecker, WorstRowErrorFindsOneElement) {
  at::manual_seed(17);
  const at::Tensor exact = at::randn({1000, 256}, at::kDouble);
  at::Tensor actual = exact.clone();
  actual[500][7] += 1;
  EXPECT_GT(worst_row_error(actual, exact), 0.05);
  actual[500][7] = NAN;
  EXPECT_FALSE(worst_row_error(actual, exact) <= 1e9);
}

}  // namespace
}  // namespace titan::ops
