#include "lib/metrics/throughput.hpp"

#include <algorithm>
#include <chrono>
#include <utility>

namespace titan {

double monotonic_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

ThroughputMeter::ThroughputMeter(const Config& config, int64_t completed_steps,
                                 std::function<double()> clock)
    : config_(config),
      clock_(std::move(clock)),
      start_(clock_()),
      completed_steps_(completed_steps) {}

void ThroughputMeter::add_batch(int64_t tokens, double wait_seconds) {
  tokens_ += tokens;
  batches_ += 1;
  wait_seconds_ += wait_seconds;
}

Throughput ThroughputMeter::read(int64_t completed_steps) {
  const double now = clock_();
  const double seconds = std::max(now - start_, 1e-9);
  const double steps =
      static_cast<double>(std::max<int64_t>(completed_steps - completed_steps_, 1));
  Throughput reading;
  reading.tps = static_cast<double>(tokens_) /
                (seconds * static_cast<double>(config_.non_data_parallel_size));
  const double flops = config_.flops_per_token * reading.tps;
  reading.tflops = flops / 1e12;
  reading.mfu = config_.peak_flops > 0 ? 100 * flops / config_.peak_flops : 0;
  reading.end_to_end_seconds = seconds / steps;
  reading.data_loading_seconds =
      wait_seconds_ / static_cast<double>(std::max<int64_t>(batches_, 1));
  reading.data_loading_percent = 100 * wait_seconds_ / seconds;

  start_ = now;
  completed_steps_ = completed_steps;
  tokens_ = 0;
  batches_ = 0;
  wait_seconds_ = 0;
  return reading;
}

}  // namespace titan
