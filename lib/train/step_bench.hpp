// Times whole training steps of a job on random tokens, and says where the time goes: kernels by
// part of the step, beside the floor that the part's FLOPs and bytes set.
#pragma once

#include <string>
#include <vector>

#include "lib/config/job_config.hpp"
#include "lib/metrics/kernel_times.hpp"
#include "lib/ops/device.hpp"
#include "lib/parallel/world.hpp"

namespace titan {

struct StepPart {
  std::string name;  // "matmul", "attention", ...
  double milliseconds = 0;
  double floor_milliseconds = 0;  // 0: none is known
};

struct StepTiming {
  double tokens_per_second = 0;
  double step_milliseconds = 0;  // median, without a profiler
  double peak_gib = 0;           // allocated by the allocator, on the rank that needs most
  double planned_gib = 0;
  // Of one profiled step: kernels of several streams overlap; the last is "idle".
  std::vector<StepPart> parts;
  CommunicationTime communication;
  std::vector<std::pair<std::string, double>> kernels;  // name, ms; longest first
};

// On CUDA. Allocates the model with its optimizer state; every rank of the world calls it, and
// times are this rank's. tokens_per_second is one GPU's share.
StepTiming time_step(const JobConfig& job, const ops::Device& device, World& world, int64_t steps);

std::string describe(const StepTiming& timing);

}  // namespace titan
