// Training in plain ATen on a GPU, as on one that the kernels are not built for: float8 emulated,
// and no kernel of ours. It computes what the CPU computes.
#include "lib/base/error.hpp"
#include "lib/model/converter.hpp"
#include "lib/optim/optimizer.hpp"
#include "tests/unit/train/train_testing.hpp"

namespace titan {
namespace {

constexpr int64_t kSeqLen = 32;

DecoderConfig emulated_model() {
  DecoderConfig config = small_model({Recompute::kNothing, Recompute::kBlock});
  float8_linear_converter({.filter_fqns = {"wk"}, .emulate = true, .tokens = 2 * kSeqLen})
      ->convert(config);
  return config;
}

// The losses of two steps, the gradient norm of the last, and the parameters after them.
std::vector<at::Tensor> train(ops::Device where, const SharderConfig& sharding) {
  SmallModel model(emulated_model(), sharding, std::move(where));
  Optimizer optimizer({}, model.sharder, model.device);
  std::vector<at::Tensor> outcome;
  for (uint64_t step = 0; step < 2; ++step) {
    MicroBatch batch = random_batch(2, kSeqLen, step);
    batch.tokens = batch.tokens.to(model.device.torch());
    batch.labels = batch.labels.to(model.device.torch());
    const at::Tensor inverse = scalar(1.0 / (2 * kSeqLen)).to(model.device.torch());
    const at::Tensor loss = model.step.forward_backward(batch, inverse);
    optimizer.step(1e-3, loss);
    model.sharder.release_gradients();
    outcome.push_back(loss.cpu());
  }
  outcome.push_back(optimizer.grad_norm().cpu());
  for (const Parameter* parameter : model.sharder.parameters()) {
    outcome.push_back(parameter->master.cpu());
  }
  EXPECT_EQ(optimizer.updates_sync(), 2);
  return outcome;
}

TEST(ReferenceOps, TrainOnAGpuAsOnTheCpu) {
  if (!ops::Device::preferred().is_cuda()) GTEST_SKIP() << "no CUDA device";
  for (const SharderConfig& sharding : {in_bf16(), with_bf16_moments(in_bf16())}) {
    SCOPED_TRACE(sharding.bfloat16_moments ? "moments in bf16" : "moments in fp32");
    const std::vector<at::Tensor> cpu = train(ops::Device::cpu(), sharding);
    const ops::ReferenceOps reference;
    ASSERT_FALSE(ops::runs_kernels(at::zeros({1}, at::kCUDA)));
    const std::vector<at::Tensor> gpu = train(ops::Device::preferred(), sharding);
    ASSERT_EQ(gpu.size(), cpu.size());
    for (size_t i = 0; i < cpu.size(); ++i) {
      const at::Tensor exact = cpu[i].to(at::kDouble);
      const double error = ((gpu[i].to(at::kDouble) - exact).norm() / exact.norm()).item<double>();
      EXPECT_LT(error, exact.dim() == 0 ? 1e-2 : 3e-2) << "tensor " << i;
    }
  }
}

}  // namespace
}  // namespace titan
