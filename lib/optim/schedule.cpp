#include "lib/optim/schedule.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace titan::optim {
namespace {

// From 1 at progress 0 to 0 at progress 1.
double decayed(Decay decay, double progress) {
  switch (decay) {
    case Decay::kLinear:
      return 1.0 - progress;
    case Decay::kSqrt:
      return 1.0 - std::sqrt(progress);
    case Decay::kCosine:
      return 0.5 * (1.0 + std::cos(std::numbers::pi * progress));
  }
  return 0.0;
}

}  // namespace

SchedulePhases phases(const Schedule& schedule) {
  const int64_t total = schedule.total_steps;
  SchedulePhases result;
  result.warmup = std::min(schedule.warmup_steps, total);
  result.decay = total - result.warmup;
  if (schedule.decay_ratio) {
    // nearbyint rounds halves to even, as Python's round() does.
    auto wanted =
        static_cast<int64_t>(std::nearbyint(static_cast<double>(total) * *schedule.decay_ratio));
    result.decay = std::min(result.decay, wanted);
  }
  result.stable = total + 1 - result.warmup - result.decay;
  return result;
}

double learning_rate_factor(const Schedule& schedule, int64_t step) {
  const SchedulePhases phase = phases(schedule);
  if (step < phase.warmup) {
    return static_cast<double>(step + 1) / static_cast<double>(phase.warmup);
  }
  const int64_t decay_step = step + 1 - phase.warmup - phase.stable;
  if (decay_step <= 0 || phase.decay == 0) return 1.0;
  const double progress =
      std::min(1.0, static_cast<double>(decay_step) / static_cast<double>(phase.decay));
  return schedule.min_factor + (1.0 - schedule.min_factor) * decayed(schedule.decay, progress);
}

}  // namespace titan::optim
