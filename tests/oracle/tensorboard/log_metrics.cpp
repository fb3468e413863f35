// log_metrics DUMP_FOLDER FIRST_STEP LAST_STEP: what a run logs, with made-up figures that depend
// on the step alone (test_tensorboard.py knows them); a NaN loss at step 3, a validation at step 4.
#include <cstdint>
#include <cstdio>
#include <limits>
#include <string>

#include "lib/metrics/metrics_logger.hpp"

int main(int count, char** arguments) {
  if (count != 4) {
    std::fputs("usage: log_metrics DUMP_FOLDER FIRST_STEP LAST_STEP\n", stderr);
    return 2;
  }
  titan::MetricsLogger logger({.dump_folder = arguments[1], .enable_tensorboard = true});
  const int64_t last = std::stoll(arguments[3]);
  for (int64_t step = std::stoll(arguments[2]); step <= last; ++step) {
    const auto x = static_cast<double>(step);
    const double loss = step == 3 ? std::numeric_limits<double>::quiet_NaN() : 8 / x;
    logger.log_step({.step = step,
                     .global_avg_loss = loss,
                     .global_max_loss = loss + 1,
                     .grad_norm = 0.1 * x,
                     .lr = 1e-4 * x,
                     .n_tokens_seen = 4096 * step,
                     .update_skipped = step == 3,
                     .throughput = {1000 * x, 2 * x, 3 * x, 0.25 * x, 0.01 * x, 4 * x},
                     .memory = {5 * x, 6 * x, 7 * x, 8 * x, step, 2 * step}});
    if (step == 4) {
      logger.log_validation({.step = step, .loss = 2.5, .tps = 512, .memory = {1, 2, 3, 4, 5, 6}});
    }
  }
  return 0;
}
