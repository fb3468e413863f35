// The references against torch itself: forward against torch's own functions, backward against its
// autograd, in fp64.
#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include "lib/ops/rms_norm.hpp"
#include "lib/ops/rope.hpp"
#include "lib/ops/swiglu.hpp"

namespace titan::ops {
namespace {

at::Tensor random(at::IntArrayRef sizes) { return at::randn(sizes, at::kDouble); }

at::Tensor leaf(at::IntArrayRef sizes) { return random(sizes).requires_grad_(true); }

std::vector<at::Tensor> gradients(const at::Tensor& out, const at::Tensor& dout,
                                  const std::vector<at::Tensor>& inputs) {
  return torch::autograd::grad({out}, inputs, {dout});
}

void expect_close(const at::Tensor& actual, const at::Tensor& expected) {
  EXPECT_TRUE(at::allclose(actual, expected, /*rtol=*/1e-10, /*atol=*/1e-11))
      << "largest difference " << (actual - expected).abs().max().item<double>();
}

class ReferenceGradient : public testing::Test {
 protected:
  void SetUp() override { at::manual_seed(29); }
};

TEST_F(ReferenceGradient, RmsNormMatchesTorchBitForBitInBfloat16) {
  const at::Tensor x = at::randn({33, 256}).to(at::kBFloat16);
  const at::Tensor weight = (1 + 0.1 * at::randn({256})).to(at::kBFloat16);
  EXPECT_TRUE(at::equal(rms_norm(x, weight, 1e-5).y, at::rms_norm(x, {256}, weight, 1e-5)));
}

TEST_F(ReferenceGradient, RmsNormBackward) {
  const at::Tensor x = leaf({9, 24}), weight = leaf({24});
  const at::Tensor dy = random({9, 24}), residual_gradient = random({9, 24});
  const at::Tensor out = at::rms_norm(x, {24}, weight, 1e-5);
  const std::vector<at::Tensor> expected = gradients(out, dy, {x, weight});

  const RmsNormResult forward = rms_norm(x.detach(), weight.detach(), 1e-5);
  expect_close(forward.y, out.detach());
  at::Tensor dweight = at::full({24}, NAN, at::kDouble), y;
  at::Tensor dx = rms_norm_backward(dy, x.detach(), weight.detach(), forward.rstd,
                                    residual_gradient, dweight, /*accumulate=*/false, &y);
  expect_close(dx, expected[0] + residual_gradient);
  expect_close(dweight, expected[1]);
  EXPECT_TRUE(at::equal(y, forward.y));

  dx = rms_norm_backward(dy, x.detach(), weight.detach(), forward.rstd, {}, dweight,
                         /*accumulate=*/true, nullptr);
  expect_close(dx, expected[0]);
  expect_close(dweight, 2 * expected[1]);
}

TEST_F(ReferenceGradient, SwigluBackward) {
  const at::Tensor gate_up = leaf({7, 32});
  const at::Tensor dh = random({7, 16});
  const at::Tensor h = at::silu(gate_up.narrow(1, 0, 16)) * gate_up.narrow(1, 16, 16);
  const std::vector<at::Tensor> expected = gradients(h, dh, {gate_up});

  expect_close(swiglu(gate_up.detach()), h.detach());
  const at::Tensor dgate_up = gate_up.detach().clone(), made_again = dh.clone();
  swiglu_backward_(made_again, dgate_up);
  expect_close(dgate_up, expected[0]);
  EXPECT_TRUE(at::equal(made_again, swiglu(gate_up.detach())));
}

TEST_F(ReferenceGradient, RopeRotatesPairsAsComplexNumbersAndBack) {
  constexpr int64_t kBatch = 2, kSeqLen = 5, kHeads = 3, kKvHeads = 2, kHeadDim = 8;
  const at::Tensor qkv = leaf({kBatch * kSeqLen, (kHeads + 2 * kKvHeads) * kHeadDim});
  const at::Tensor table =
      rope_table(kSeqLen + 3, kHeadDim, {.theta = 100, .scaling = {}}, at::kCPU).to(at::kDouble);

  const at::Tensor rotation = at::view_as_complex(table.narrow(0, 0, kSeqLen)).unsqueeze(1);
  const at::Tensor heads = qkv.view({kBatch, kSeqLen, kHeads + 2 * kKvHeads, kHeadDim / 2, 2});
  const at::Tensor rotated =
      at::view_as_real(at::view_as_complex(heads.narrow(2, 0, kHeads + kKvHeads)) * rotation);
  const at::Tensor out =
      at::cat({rotated, heads.narrow(2, kHeads + kKvHeads, kKvHeads)}, 2).flatten(3);

  at::Tensor in_place = qkv.detach().clone();
  rope_(in_place, table, kHeads, kKvHeads, kSeqLen);
  expect_close(in_place, out.detach().reshape(in_place.sizes()));

  const at::Tensor dout = random(out.sizes());
  const std::vector<at::Tensor> expected = gradients(out, dout, {qkv});
  const at::Tensor dq = dout.narrow(2, 0, kHeads);
  const at::Tensor dk = dout.narrow(2, kHeads, kKvHeads);
  const at::Tensor dv = dout.narrow(2, kHeads + kKvHeads, kKvHeads);
  expect_close(rope_backward(dq, dk, dv, table), expected[0]);
}

}  // namespace
}  // namespace titan::ops
