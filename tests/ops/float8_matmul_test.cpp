// The float8 product on the GPU against its emulation in fp32, in every form that training uses.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "lib/float8/matmul.hpp"
#include "lib/float8/quantize.hpp"

namespace titan::float8 {
namespace {

double relative_error(const at::Tensor& found, const at::Tensor& expected) {
  const at::Tensor reference = expected.to(at::kDouble);
  return ((found.to(at::kDouble) - reference).norm() / reference.norm()).item<double>();
}

struct Case {
  int64_t m, n, k;
  at::ScalarType out;
  bool addend;
  bool slice;  // out is a column slice of a wider matrix
  Accumulation accumulation;
};

class Float8Matmul : public testing::TestWithParam<Case> {};

TEST_P(Float8Matmul, CudaMatchesEmulation) {
  const ops::Device device = ops::Device::preferred();
  if (!device.is_cuda()) GTEST_SKIP() << "no CUDA device";
  const Case& c = GetParam();
  at::manual_seed(c.m + c.n + c.k);
  const auto options = device.options(at::kBFloat16);
  const Float8Tensor a = reference::quantize_rows(at::randn({c.m, c.k}, options));
  const Float8Tensor b = reference::quantize_rows(at::randn({c.n, c.k}, options));
  at::Tensor wide = at::full({c.m, c.slice ? c.n + 64 : c.n}, NAN, device.options(c.out));
  at::Tensor out = wide.narrow(1, c.slice ? 32 : 0, c.n);
  at::Tensor addend;
  if (c.addend) addend = at::randn({c.m, c.n}, device.options(c.out));

  at::Tensor expected = at::empty({c.m, c.n}, device.options(at::kFloat));
  matmul_out(device, a, b, expected, c.addend ? addend.to(at::kFloat) : at::Tensor(),
             Accumulation::kFull, /*emulated=*/true);
  matmul_out(device, a, b, out, addend, c.accumulation);

  // bf16 rounding is 2^-9 relative; fast accumulation loses a little more (float8.md measures 2-5 %
  // on single values of long reductions, far less in the norm).
  const double bound = c.accumulation == Accumulation::kFast ? 1e-2 : 3e-3;
  EXPECT_LT(relative_error(out, expected), bound);
  if (c.slice) {
    EXPECT_TRUE(wide.narrow(1, 0, 32).isnan().all().item<bool>());
    EXPECT_TRUE(wide.narrow(1, c.n + 32, 32).isnan().all().item<bool>());
  }
}

INSTANTIATE_TEST_SUITE_P(
    Forms, Float8Matmul,
    testing::Values(Case{512, 768, 256, at::kBFloat16, false, false, Accumulation::kFast},
                    Case{512, 768, 256, at::kBFloat16, true, false, Accumulation::kFast},
                    Case{512, 256, 768, at::kBFloat16, false, false, Accumulation::kFull},
                    Case{512, 256, 768, at::kBFloat16, true, true, Accumulation::kFull},
                    Case{2048, 1024, 4096, at::kBFloat16, false, true, Accumulation::kFast},
                    Case{4096, 4096, 2048, at::kFloat, false, false, Accumulation::kFull},
                    Case{4096, 4096, 2048, at::kFloat, true, false, Accumulation::kFull},
                    Case{16, 16, 16, at::kBFloat16, false, false, Accumulation::kFull},
                    // In 2, 4 and 3 parts of K; and long without parts.
                    Case{1024, 1024, 16384, at::kBFloat16, false, false, Accumulation::kFull},
                    Case{1024, 1024, 8192, at::kFloat, true, false, Accumulation::kFull},
                    Case{208, 272, 16384, at::kFloat, false, true, Accumulation::kFull},
                    Case{512, 304, 12288, at::kBFloat16, true, true, Accumulation::kFull},
                    Case{512, 304, 12304, at::kBFloat16, true, true, Accumulation::kFull}));

TEST(Float8MatmulInParts, AddsToItsOutputAndRepeatsItsBits) {
  const ops::Device device = ops::Device::preferred();
  if (!device.is_cuda()) GTEST_SKIP() << "no CUDA device";
  at::manual_seed(5);
  const auto options = device.options(at::kBFloat16);
  const Float8Tensor a = reference::quantize_rows(at::randn({512, 16384}, options));
  const Float8Tensor b = reference::quantize_rows(at::randn({512, 16384}, options));
  at::Tensor once = at::empty({512, 512}, device.options(at::kFloat));
  matmul_out(device, a, b, once, {}, Accumulation::kFull);
  at::Tensor twice = once.clone();
  matmul_out(device, a, b, twice, twice, Accumulation::kFull);
  EXPECT_TRUE(at::equal(twice, 2 * once));
}

TEST(Float8MatmulCpu, EmulationIsTheProductOfTheDequantizedValues) {
  const ops::Device device = ops::Device::cpu();
  at::manual_seed(1);
  const Float8Tensor a = quantize_rows(at::randn({32, 48}));
  const Float8Tensor b = quantize_rows(at::randn({16, 48}));
  const at::Tensor expected =
      at::mm(dequantize(a).to(at::kDouble), dequantize(b).to(at::kDouble).t());
  at::Tensor out = at::empty({32, 16});
  const int64_t before = matmuls_executed();
  matmul_out(device, a, b, out, {}, Accumulation::kFast);
  EXPECT_LT(relative_error(out, expected), 1e-6);
  EXPECT_EQ(matmuls_executed(), before + 1);
  matmul_out(device, a, b, out, out, Accumulation::kFull);
  EXPECT_LT(relative_error(out, 2 * expected), 1e-6);
}

}  // namespace
}  // namespace titan::float8
