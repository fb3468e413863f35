// The CUDA kernel of AdamW gives the CPU's bits, with moments in fp32 and in stochastically rounded
// bf16, whatever part of a parameter it gets and from wherever that starts. Plain ATen, whose
// square root is not always rounded to nearest, gives the same moments.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include "lib/base/error.hpp"
#include "lib/ops/adamw.hpp"
#include "lib/ops/device.hpp"

namespace titan::ops {
namespace {

constexpr int64_t kSteps = 3;
constexpr AdamWSettings kSettings{.learning_rate = 0.01, .beta1 = 0.5, .beta2 = 0.75};

struct Case {
  at::ScalarType master, gradient;
  bool stochastic;
  int64_t count;
  TensorBlock block = {};  // of the whole parameter
  int64_t offset = 0;      // elements between an aligned address and the tensors' start
};

at::Tensor part(const at::Tensor& values, at::Device device, int64_t offset) {
  at::Tensor storage = at::empty({offset + values.numel()}, values.options().device(device));
  at::Tensor result = storage.narrow(0, offset, values.numel());
  result.copy_(values);
  return result;
}

// Some gradients that round, vanish, or are large.
at::Tensor gradient_of(const Case& c, int64_t step) {
  at::manual_seed(100 + static_cast<uint64_t>(step));
  at::Tensor values = at::randn({c.count}) * at::randn({c.count}).mul(8).exp();
  values.view({-1}).narrow(0, 0, c.count / 16).zero_();
  return values.to(c.gradient);
}

std::vector<at::Tensor> run(const Case& c, at::Device device, bool plain_aten = false) {
  at::manual_seed(7);
  const at::ScalarType moment = c.stochastic ? at::kBFloat16 : c.master;
  AdamWTensors t{.master = part(at::randn({c.count}).to(c.master), device, c.offset),
                 .gradient = {},
                 .exp_avg = part(at::zeros({c.count}, moment), device, c.offset),
                 .exp_avg_sq = part(at::zeros({c.count}, moment), device, c.offset),
                 .compute = part(at::zeros({c.count}, at::kBFloat16), device, c.offset)};
  std::optional<MomentRounding> rounding;
  if (c.stochastic) rounding = {.key = rounding_key(3, "w"), .block = c.block};
  const StepControls controls(device);
  for (int64_t step = 0; step < kSteps; ++step) {
    t.gradient = part(gradient_of(c, step), device, c.offset);
    decide_step({.max_norm = 2.0, .beta1 = kSettings.beta1, .beta2 = kSettings.beta2},
                at::full({}, 9.0, at::TensorOptions().dtype(at::kDouble).device(device)), {},
                controls);
    if (plain_aten) {
      reference::adamw_(t, kSettings, controls.values_sync(), rounding);
    } else {
      adamw_(t, kSettings, controls, rounding);
    }
  }
  return {t.exp_avg.cpu(), t.exp_avg_sq.cpu(), t.master.cpu(), t.compute.cpu()};
}

bool same_bits(const at::Tensor& a, const at::Tensor& b) {
  return at::equal(a.contiguous().view(at::kByte), b.contiguous().view(at::kByte));
}

std::vector<Case> every_case() {
  std::vector<Case> cases;
  for (const at::ScalarType master : {at::kFloat, at::kBFloat16}) {
    for (const at::ScalarType gradient : {at::kFloat, at::kBFloat16}) {
      for (const bool stochastic : {false, true}) {
        cases.push_back({master, gradient, stochastic, 3 * 2048 + 517});  // whole blocks and a rest
        cases.push_back({master, gradient, stochastic, 4099, {6}});       // within a Philox block
        cases.push_back({master, gradient, stochastic, 4099, {8}, 3});    // not aligned
        cases.push_back({master, gradient, stochastic, 8192, {int64_t{1} << 35}});
        if (!stochastic) continue;
        // Columns: whole quads in each row, rows and first element that are not, many rows, far on.
        cases.push_back({master, gradient, stochastic, 7000, {8, 700, 1400}});
        cases.push_back({master, gradient, stochastic, 7000, {8, 700, 1401}});
        cases.push_back({master, gradient, stochastic, 7000, {8, 35, 40}});
        cases.push_back({master, gradient, stochastic, 7000, {6, 700, 1400}, 1});
        cases.push_back({master, gradient, stochastic, 8192, {0, 4, 8}});
        cases.push_back({master, gradient, stochastic, 8191, {3, 1, 2}});
        cases.push_back(
            {master, gradient, stochastic, 8192, {int64_t{1} << 35, 2048, int64_t{1} << 34}});
      }
    }
  }
  return cases;
}

// Of the first `count` tensors: exp_avg, exp_avg_sq, master, compute.
void expect_bits_of_the_cpu(at::Device device, bool plain_aten, size_t count) {
  at::set_num_threads(1);
  for (const Case& c : every_case()) {
    SCOPED_TRACE(concat(c.master, ", gradient ", c.gradient, c.stochastic ? ", stochastic, " : ", ",
                        c.count, " from ", c.block.first_index, ", rows of ", c.block.row_length,
                        " every ", c.block.row_stride, ", offset ", c.offset));
    const std::vector<at::Tensor> cpu = run(c, at::kCPU), found = run(c, device, plain_aten);
    const char* names[] = {"exp_avg", "exp_avg_sq", "master", "compute"};
    for (size_t i = 0; i < count; ++i) {
      EXPECT_TRUE(same_bits(cpu[i], found[i]))
          << names[i] << " differs in " << cpu[i].ne(found[i]).sum().item<int64_t>() << " elements";
    }
  }
}

TEST(AdamWBits, TheSameOnTheCpuAndOnCuda) {
  const Device device = Device::preferred();
  if (!device.is_cuda()) GTEST_SKIP() << "no CUDA device: the AdamW kernel's bits";
  expect_bits_of_the_cpu(device.torch(), /*plain_aten=*/false, 4);
}

TEST(AdamWBits, PlainATenHasTheSameMoments) {
  expect_bits_of_the_cpu(at::kCPU, /*plain_aten=*/true, 2);
  expect_bits_of_the_cpu(Device::preferred().torch(), /*plain_aten=*/true, 2);
}

}  // namespace
}  // namespace titan::ops
