// Writes each log record to its three places: the console (step_line.hpp), metrics.jsonl in the
// dump folder (json_lines.hpp) and, when enabled, TensorBoard events under torchtitan's tags in
//   {dump_folder}/{save_tb_folder}/%Y%m%d-%H%M[/rank_R]
// Trouble with the files is a warning, never an error: see RecordFile. One thread.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "lib/metrics/event_file.hpp"
#include "lib/metrics/metrics.hpp"
#include "lib/metrics/record_file.hpp"

namespace titan {

class MetricsLogger {
 public:
  struct Config {
    std::filesystem::path dump_folder;
    bool enable_tensorboard = false;
    std::string save_tb_folder = "tb";
    bool disable_color_printing = false;
    int64_t log_freq = 10;
    int rank = 0;
    // The rank that sees the loss: 0, or with pipeline parallelism the first of the last stage. It
    // writes the files; the console's ranks are the log's affair (log::set_info_enabled).
    int metrics_rank = 0;
    // Every rank writes: TensorBoard in its own folder, metrics_rank_R.jsonl beside metrics.jsonl.
    bool save_for_all_ranks = false;
  };

  explicit MetricsLogger(Config config);

  // Step 1 and each multiple of log_freq. Steps count from 1.
  bool should_log(int64_t step) const { return step == 1 || step % config_.log_freq == 0; }

  void log_step(const StepMetrics& metrics);
  void log_validation(const ValidationMetrics& metrics);

 private:
  Config config_;
  bool colours_;
  std::optional<RecordFile> json_lines_;
  std::optional<EventFile> events_;
};

}  // namespace titan
