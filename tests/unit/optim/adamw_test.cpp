// AdamW and Adam against the formula written once more in plain ATen, in each combination of
// dtypes.
#include "lib/ops/adamw.hpp"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "lib/base/error.hpp"
#include "lib/ops/device.hpp"

namespace titan::ops {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// Each test runs on the CPU, and on a GPU where there is one.
class AdamW : public testing::TestWithParam<at::DeviceType> {
 protected:
  void SetUp() override {
    if (GetParam() == at::kCUDA && !Device::preferred().is_cuda()) {
      GTEST_SKIP() << "no CUDA device: the optimizer's kernels";
    }
    at::manual_seed(1);
  }

  at::Device device() const { return at::Device(GetParam()); }
  at::Tensor scalar(double value, at::ScalarType dtype = at::kDouble) const {
    return at::full({}, value, at::TensorOptions().dtype(dtype).device(device()));
  }
  at::Tensor random(int64_t count, at::ScalarType dtype) const {
    return at::randn({count}, at::TensorOptions().dtype(at::kDouble).device(device())).to(dtype);
  }
  AdamWTensors random_tensors(int64_t count, at::ScalarType master, at::ScalarType gradient) const;
  void check_steps(at::ScalarType master, at::ScalarType gradient, bool decoupled, double bound);
};

INSTANTIATE_TEST_SUITE_P(Devices, AdamW, testing::Values(at::kCPU, at::kCUDA),
                         [](const auto& info) { return info.param == at::kCPU ? "Cpu" : "Cuda"; });

AdamWTensors AdamW::random_tensors(int64_t count, at::ScalarType master,
                                   at::ScalarType gradient) const {
  const auto zeros = [&](at::ScalarType dtype) {
    return at::zeros({count}, at::TensorOptions().dtype(dtype).device(device()));
  };
  return {.master = random(count, master),
          .gradient = random(count, gradient),
          .exp_avg = zeros(master),
          .exp_avg_sq = zeros(master),
          .compute = zeros(at::kBFloat16)};
}

// In fp64 throughout; master, exp_avg and exp_avg_sq are replaced.
void expected_step(AdamWTensors& t, const AdamWSettings& s, double clip, int64_t step) {
  at::Tensor gradient = t.gradient.to(at::kDouble) * clip;
  if (s.decoupled) {
    t.master = t.master * (1 - s.learning_rate * s.weight_decay);
  } else {
    gradient = gradient + s.weight_decay * t.master;
  }
  t.exp_avg = s.beta1 * t.exp_avg + (1 - s.beta1) * gradient;
  t.exp_avg_sq = s.beta2 * t.exp_avg_sq + (1 - s.beta2) * gradient * gradient;
  const double correction1 = 1 - std::pow(s.beta1, step);
  const double correction2 = 1 - std::pow(s.beta2, step);
  const at::Tensor denominator = t.exp_avg_sq.sqrt() / std::sqrt(correction2) + s.epsilon;
  t.master = t.master - s.learning_rate / correction1 * t.exp_avg / denominator;
}

double relative_error(const at::Tensor& actual, const at::Tensor& expected) {
  return ((actual.to(at::kDouble) - expected).norm() / expected.norm()).item<double>();
}

void AdamW::check_steps(at::ScalarType master, at::ScalarType gradient, bool decoupled,
                        double bound) {
  AdamWTensors actual = random_tensors(1003, master, gradient);
  AdamWTensors expected = actual;
  for (at::Tensor* tensor : {&expected.master, &expected.exp_avg, &expected.exp_avg_sq}) {
    *tensor = tensor->to(at::kDouble, /*non_blocking=*/false, /*copy=*/true);
  }
  AdamWSettings settings{.learning_rate = 0.01, .weight_decay = 0.3, .decoupled = decoupled};
  StepControls controls(device());
  for (int64_t step = 1; step <= 5; ++step) {
    expected.gradient = actual.gradient = random(1003, gradient);
    decide_step({.max_norm = 10, .beta1 = settings.beta1, .beta2 = settings.beta2}, scalar(900), {},
                controls);
    adamw_(actual, settings, controls);
    expected_step(expected, settings, 10 / (30 + 1e-6), step);
  }
  EXPECT_EQ(controls.step().item<int64_t>(), 5);
  EXPECT_LT(relative_error(actual.master, expected.master), bound);
  EXPECT_LT(relative_error(actual.exp_avg, expected.exp_avg), bound);
  EXPECT_LT(relative_error(actual.exp_avg_sq, expected.exp_avg_sq), bound);
  EXPECT_TRUE(at::equal(actual.compute, actual.master.to(at::kFloat).to(at::kBFloat16)));
}

TEST_P(AdamW, EqualsTheFormulaInEveryDtype) {
  for (bool decoupled : {true, false}) {
    if (GetParam() == at::kCPU) {
      check_steps(at::kDouble, at::kDouble, decoupled, 1e-7);  // the clip factor is an fp32
    }
    check_steps(at::kFloat, at::kFloat, decoupled, 1e-6);
    check_steps(at::kFloat, at::kBFloat16, decoupled, 1e-6);
    check_steps(at::kBFloat16, at::kBFloat16, decoupled, 2e-2);
    check_steps(at::kBFloat16, at::kFloat, decoupled, 2e-2);
  }
}

// The rounding may take the gradient's place, in a step and in a skipped one.
TEST_P(AdamW, RoundsOverTheGradient) {
  for (const double loss : {1.0, kInfinity}) {
    AdamWTensors tensors = random_tensors(5000, at::kFloat, at::kBFloat16);
    AdamWTensors in_place = tensors;
    in_place.master = tensors.master.clone();
    in_place.exp_avg = tensors.exp_avg.clone();
    in_place.exp_avg_sq = tensors.exp_avg_sq.clone();
    in_place.compute = in_place.gradient = tensors.gradient.clone();
    StepControls controls(device());
    decide_step({}, scalar(1.0), scalar(loss, at::kFloat), controls);
    adamw_(tensors, {.learning_rate = 0.1}, controls);
    adamw_(in_place, {.learning_rate = 0.1}, controls);
    EXPECT_TRUE(at::equal(in_place.master, tensors.master));
    EXPECT_TRUE(at::equal(in_place.exp_avg, tensors.exp_avg));
    EXPECT_TRUE(at::equal(in_place.exp_avg_sq, tensors.exp_avg_sq));
    EXPECT_TRUE(at::equal(in_place.compute, tensors.master.to(at::kBFloat16)));
  }
}

TEST_P(AdamW, ANonFiniteStepChangesNothing) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  for (const auto& [square_sum, loss] :
       {std::pair{nan, 1.0}, {kInfinity, 1.0}, {1.0, nan}, {1.0, -kInfinity}}) {
    AdamWTensors tensors = random_tensors(100, at::kFloat, at::kFloat);
    const at::Tensor before = tensors.master.clone();
    StepControls controls(device());
    decide_step({}, scalar(square_sum), scalar(loss, at::kFloat), controls);
    adamw_(tensors, {.learning_rate = 0.1}, controls);
    EXPECT_EQ(controls.skip().item<int>(), 1);
    EXPECT_EQ(controls.step().item<int64_t>(), 0);
    EXPECT_TRUE(at::equal(tensors.master, before));
    EXPECT_EQ(tensors.exp_avg.count_nonzero().item<int64_t>(), 0);
    EXPECT_TRUE(at::equal(tensors.compute, before.to(at::kBFloat16)));

    // The next step is the first that counts.
    decide_step({}, scalar(1.0), scalar(1.0, at::kFloat), controls);
    EXPECT_EQ(controls.skip().item<int>(), 0);
    EXPECT_EQ(controls.step().item<int64_t>(), 1);
  }
}

TEST_P(AdamW, NormAndClipFactor) {
  StepControls controls(device());
  decide_step({.max_norm = 1.0}, scalar(16.0), {}, controls);
  EXPECT_FLOAT_EQ(controls.norm().item<float>(), 4.0f);
  EXPECT_FLOAT_EQ(controls.clip_factor().item<float>(), 1.0 / (4.0 + 1e-6));
  decide_step({.max_norm = 1.0}, scalar(0.25), {}, controls);
  EXPECT_EQ(controls.clip_factor().item<float>(), 1.0f);
  decide_step({.max_norm = kInfinity}, scalar(1e20), {}, controls);
  EXPECT_EQ(controls.clip_factor().item<float>(), 1.0f);
}

TEST_P(AdamW, ResumesAtAStep) {
  AdamWTensors straight = random_tensors(64, at::kFloat, at::kFloat);
  const AdamWSettings settings{.learning_rate = 0.01};
  StepControls first(device()), second(device());
  AdamWTensors resumed;
  for (int step = 0; step < 6; ++step) {
    if (step == 3) {
      resumed = {straight.master.clone(),
                 straight.gradient,
                 straight.exp_avg.clone(),
                 straight.exp_avg_sq.clone(),
                 {}};
      second.step().fill_(first.step());
    }
    decide_step({}, scalar(2.0), {}, first);
    adamw_(straight, settings, first);
    if (step >= 3) {
      decide_step({}, scalar(2.0), {}, second);
      adamw_(resumed, settings, second);
    }
  }
  EXPECT_TRUE(at::equal(straight.master, resumed.master));
}

TEST_P(AdamW, SameBitsWithAnyNumberOfThreads) {
  const int threads = at::get_num_threads();
  at::manual_seed(2);
  const AdamWTensors start = random_tensors(100003, at::kFloat, at::kFloat);
  at::Tensor results[2];
  for (int i = 0; i < 2; ++i) {
    at::set_num_threads(i == 0 ? 1 : 2);
    AdamWTensors t{
        start.master.clone(), start.gradient, start.exp_avg.clone(), start.exp_avg_sq.clone(), {}};
    StepControls controls(device());
    decide_step({}, scalar(2.0), {}, controls);
    adamw_(t, {.learning_rate = 0.01}, controls);
    results[i] = t.master;
  }
  at::set_num_threads(threads);
  EXPECT_TRUE(at::equal(results[0], results[1]));
}

TEST_P(AdamW, TheMasterMayBeItsOwnComputeCopy) {
  AdamWTensors t = random_tensors(10, at::kFloat, at::kFloat);
  t.compute = t.master;
  StepControls controls(device());
  decide_step({}, scalar(2.0), {}, controls);
  EXPECT_NO_THROW(adamw_(t, {.learning_rate = 0.01}, controls));
}

TEST_P(AdamW, RefusesMixedShapesAndDtypes) {
  StepControls controls(device());
  AdamWTensors t = random_tensors(10, at::kFloat, at::kFloat);
  t.gradient = at::zeros({11}, device());
  EXPECT_THROW(adamw_(t, {}, controls), Error);
  t = random_tensors(10, at::kFloat, at::kFloat);
  t.exp_avg = t.exp_avg.to(at::kBFloat16);
  EXPECT_THROW(adamw_(t, {}, controls), Error);
}

}  // namespace
}  // namespace titan::ops
