// Counts tokens and waits between two log lines. The clock starts when the object is built, so the
// first reading includes model initialisation and checkpoint load, as torchtitan's does. One
// thread.
#pragma once

#include <cstdint>
#include <functional>

#include "lib/metrics/metrics.hpp"

namespace titan {

// Seconds of a clock that never goes back.
double monotonic_seconds();

class ThroughputMeter {
 public:
  struct Config {
    double flops_per_token = 0;          // flops.hpp
    double peak_flops = 0;               // of one device; 0: not defined
    int64_t non_data_parallel_size = 1;  // cp * tp * pp: how many devices share a batch
  };

  // completed_steps: 0, or the step that the run resumes from.
  explicit ThroughputMeter(const Config& config, int64_t completed_steps = 0,
                           std::function<double()> clock = monotonic_seconds);

  // A batch that this rank read: its tokens before the CP split, and how long it was waited for.
  void add_batch(int64_t tokens, double wait_seconds);

  // Figures of the interval that ends now, and the start of the next one. After a validation the
  // same call starts the training interval afresh.
  Throughput read(int64_t completed_steps);

 private:
  Config config_;
  std::function<double()> clock_;
  double start_;
  int64_t completed_steps_;
  int64_t tokens_ = 0;
  int64_t batches_ = 0;
  double wait_seconds_ = 0;
};

}  // namespace titan
