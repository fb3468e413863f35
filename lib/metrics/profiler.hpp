// Kineto traces of chosen steps, in Chrome's JSON, for Perfetto or chrome://tracing:
//   {folder}/iteration_N/rank{R}_trace.json        complete or absent
// Steps go in cycles of `freq`: it waits for freq - (active + warmup) steps, lets the profiler warm
// up for `warmup` (collecting, and throwing away), and records `active`, so that iteration_N holds
// the steps up to N, each under "ProfilerStep#<step>". Operators of the thread that calls step()
// are recorded, with their shapes, and everything on the GPU. Failing to write is a warning, never
// an error. No torch header here, so that only profiler.cpp pays for them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>

namespace titan {

class Profiler {
 public:
  struct Config {
    bool enable = false;
    std::filesystem::path folder;  // {dump_folder}/{save_traces_folder}
    int64_t freq = 10;             // profiling.profile_freq
    int64_t active = 1;            // profiling.profiler_active
    int64_t warmup = 3;            // profiling.profiler_warmup
    int rank = 0;
    bool cuda = false;  // also record kernels and copies on the GPU
  };

  // completed_steps: 0, or the step that the run resumes from. Throws InputError when the cycle is
  // shorter than its parts.
  explicit Profiler(Config config, int64_t completed_steps = 0);
  Profiler(const Profiler&) = delete;
  Profiler& operator=(const Profiler&) = delete;
  // A recording that has begun is saved as far as it got.
  ~Profiler();

  // Call after each step, on the thread that runs the steps.
  void step(int64_t completed_steps);

 private:
  class Session;
  std::unique_ptr<Session> session_;  // empty when not enabled
};

}  // namespace titan
