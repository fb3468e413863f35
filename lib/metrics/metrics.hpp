// What a log line reports, as plain values: measured elsewhere (throughput.hpp, memory.hpp, the
// trainer), written by metrics_logger.hpp. GiB = 2^30 bytes. Non-finite values are allowed.
#pragma once

#include <cstdint>

namespace titan {

// Of the CUDA caching allocator; peaks since the last log line. All zero on the CPU.
struct MemoryStats {
  double max_active_gib = 0;
  double max_active_percent = 0;  // of the device's memory
  double max_reserved_gib = 0;
  double max_reserved_percent = 0;
  int64_t num_alloc_retries = 0;  // since the process started, as the next one
  int64_t num_ooms = 0;
};

// Over the interval since the last log line or validation.
struct Throughput {
  double tps = 0;                   // tokens per second per device
  double tflops = 0;                // model TFLOP/s per device
  double mfu = 0;                   // percent of the peak; 0 where no peak is defined (CPU)
  double end_to_end_seconds = 0;    // per step
  double data_loading_seconds = 0;  // mean wait per batch
  double data_loading_percent = 0;  // waits as a share of the interval
};

struct StepMetrics {
  int64_t step = 0;
  double global_avg_loss = 0;
  double global_max_loss = 0;  // the largest loss of a rank
  double grad_norm = 0;        // before clipping
  double lr = 0;               // the value that this step used
  int64_t n_tokens_seen = 0;
  bool update_skipped = false;  // a non-finite loss or gradient norm: the weights did not change
  Throughput throughput = {};
  MemoryStats memory = {};
};

struct ValidationMetrics {
  int64_t step = 0;
  double loss = 0;
  double tps = 0;
  MemoryStats memory = {};
};

}  // namespace titan
