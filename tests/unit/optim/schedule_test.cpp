#include "lib/optim/schedule.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace titan::optim {
namespace {

std::vector<double> factors(const Schedule& schedule, int64_t steps) {
  std::vector<double> result;
  for (int64_t step = 0; step < steps; ++step) {
    result.push_back(learning_rate_factor(schedule, step));
  }
  return result;
}

void expect_near(const std::vector<double>& actual, const std::vector<double>& expected) {
  ASSERT_EQ(actual.size(), expected.size());
  for (size_t i = 0; i < actual.size(); ++i) EXPECT_NEAR(actual[i], expected[i], 1e-15) << i;
}

TEST(Schedule, LinearWithAllPhases) {
  // warm-up 2, decay round(10 * 0.4) = 4, stable 10 + 1 - 6 = 5
  Schedule schedule{.total_steps = 10, .warmup_steps = 2, .decay_ratio = 0.4};
  expect_near(factors(schedule, 10), {0.5, 1, 1, 1, 1, 1, 1, 0.75, 0.5, 0.25});
}

TEST(Schedule, SqrtAndCosineEndAtTheFloor) {
  Schedule schedule{.total_steps = 10, .warmup_steps = 2, .decay_ratio = 0.4, .min_factor = 0.1};
  schedule.decay = Decay::kSqrt;
  EXPECT_NEAR(learning_rate_factor(schedule, 7), 0.1 + 0.9 * 0.5, 1e-15);
  EXPECT_NEAR(learning_rate_factor(schedule, 9), 0.1 + 0.9 * (1 - std::sqrt(0.75)), 1e-15);
  schedule.decay = Decay::kCosine;
  EXPECT_NEAR(learning_rate_factor(schedule, 8), 0.1 + 0.9 * 0.5, 1e-15);
  for (Decay decay : {Decay::kLinear, Decay::kSqrt, Decay::kCosine}) {
    schedule.decay = decay;
    EXPECT_NEAR(learning_rate_factor(schedule, 10), 0.1, 1e-15);
  }
}

TEST(Schedule, WithoutARatioEverythingAfterTheWarmupDecays) {
  Schedule schedule{.total_steps = 6, .warmup_steps = 2};
  EXPECT_EQ(phases(schedule).decay, 4);
  EXPECT_EQ(phases(schedule).stable, 1);
  expect_near(factors(schedule, 6), {0.5, 1, 1, 0.75, 0.5, 0.25});
}

TEST(Schedule, WarmupLongerThanTheRunIsCut) {
  Schedule schedule{.total_steps = 4, .warmup_steps = 200};
  expect_near(factors(schedule, 4), {0.25, 0.5, 0.75, 1});
  EXPECT_EQ(phases(schedule).decay, 0);
}

TEST(Schedule, DecayIsCutToWhatFollowsTheWarmup) {
  Schedule schedule{.total_steps = 10, .warmup_steps = 5, .decay_ratio = 0.9};
  EXPECT_EQ(phases(schedule).warmup, 5);
  EXPECT_EQ(phases(schedule).decay, 5);
  EXPECT_EQ(phases(schedule).stable, 1);
}

TEST(Schedule, DecayStepsRoundHalvesToEvenAsPython) {
  EXPECT_EQ(phases({.total_steps = 5, .warmup_steps = 0, .decay_ratio = 0.5}).decay, 2);
  EXPECT_EQ(phases({.total_steps = 7, .warmup_steps = 0, .decay_ratio = 0.5}).decay, 4);
}

TEST(Schedule, NoWarmupAndNoDecayIsConstant) {
  Schedule schedule{.total_steps = 3, .warmup_steps = 0, .decay_ratio = 0.0};
  expect_near(factors(schedule, 10), std::vector<double>(10, 1.0));
}

TEST(Schedule, StepsBeyondTheEndStayAtTheFloor) {
  Schedule schedule{.total_steps = 8, .warmup_steps = 1, .min_factor = 0.2};
  for (Decay decay : {Decay::kLinear, Decay::kSqrt, Decay::kCosine}) {
    schedule.decay = decay;
    EXPECT_NEAR(learning_rate_factor(schedule, 100), 0.2, 1e-15);
  }
}

}  // namespace
}  // namespace titan::optim
