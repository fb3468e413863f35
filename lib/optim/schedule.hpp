// The learning rate over the steps of a run: linear warm-up, a stable stretch, then decay, as
// torchtitan v0.2.2 (components/lr_scheduler.py). Pure functions of a small struct: resuming a run
// needs nothing but its step.
#pragma once

#include <cstdint>
#include <optional>

namespace titan::optim {

enum class Decay { kLinear, kSqrt, kCosine };

struct Schedule {
  int64_t total_steps = 10000;
  // More than total_steps: all of the run is warm-up.
  int64_t warmup_steps = 200;
  // Share of total_steps that decays; none: all that follows the warm-up.
  std::optional<double> decay_ratio = std::nullopt;
  Decay decay = Decay::kLinear;
  // Where the decay ends.
  double min_factor = 0.0;
};

// The steps of each phase; they add up to total_steps + 1, so that the last step is still above
// min_factor. A decay that would reach into the warm-up is cut to what follows it.
struct SchedulePhases {
  int64_t warmup = 0;
  int64_t stable = 0;
  int64_t decay = 0;
};
SchedulePhases phases(const Schedule& schedule);

// What the base learning rate is multiplied with in step `step`, counted from 0. Steps beyond
// total_steps stay where the decay ended.
double learning_rate_factor(const Schedule& schedule, int64_t step);

}  // namespace titan::optim
