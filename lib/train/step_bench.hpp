// Times whole training steps of a job on random tokens, and says where the time goes: kernels by
// part of the step, beside the floor that the part's FLOPs and bytes set.
#pragma once

#include <string>
#include <vector>

#include "lib/config/job_config.hpp"
#include "lib/ops/device.hpp"

namespace titan {

struct StepPart {
  std::string name;  // "matmul", "attention", ...
  double milliseconds = 0;
  double floor_milliseconds = 0;  // 0: none is known
};

struct StepTiming {
  double tokens_per_second = 0;
  double step_milliseconds = 0;  // median, without a profiler
  double peak_gib = 0;           // allocated by the allocator
  double planned_gib = 0;
  std::vector<StepPart> parts;                          // of one profiled step; the last is "idle"
  std::vector<std::pair<std::string, double>> kernels;  // name, ms; longest first
};

// One CUDA device. Allocates the whole model with its optimizer state.
StepTiming time_step(const JobConfig& job, const ops::Device& device, int64_t steps);

std::string describe(const StepTiming& timing);

}  // namespace titan
