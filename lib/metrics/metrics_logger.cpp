#include "lib/metrics/metrics_logger.hpp"

#include <chrono>
#include <ctime>
#include <utility>

#include "lib/base/error.hpp"
#include "lib/base/log.hpp"
#include "lib/metrics/json_lines.hpp"
#include "lib/metrics/step_line.hpp"

namespace titan {
namespace {

double unix_seconds() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

std::string local_minute() {
  const std::time_t now = std::time(nullptr);
  std::tm fields{};
  ::localtime_r(&now, &fields);
  char text[32];
  std::strftime(text, sizeof text, "%Y%m%d-%H%M", &fields);
  return text;
}

}  // namespace

MetricsLogger::MetricsLogger(Config config)
    : config_(std::move(config)),
      colours_(!config_.disable_color_printing && log::colours_wanted()) {
  TITAN_CHECK(config_.log_freq > 0, "metrics.log_freq must be at least 1, got ", config_.log_freq);
  const bool is_metrics_rank = config_.rank == config_.metrics_rank;
  if (!is_metrics_rank && !config_.save_for_all_ranks) return;

  const std::string rank = std::to_string(config_.rank);
  const std::filesystem::path json_path =
      config_.dump_folder / (is_metrics_rank ? "metrics.jsonl" : "metrics_rank_" + rank + ".jsonl");
  repair_last_line(json_path);
  json_lines_.emplace(json_path);

  if (config_.enable_tensorboard) {
    std::filesystem::path folder = config_.dump_folder / config_.save_tb_folder / local_minute();
    if (config_.save_for_all_ranks) folder /= "rank_" + rank;
    events_.emplace(folder);
    log::info(concat("TensorBoard logging enabled. Logs will be saved at ", folder.string()));
  }
}

void MetricsLogger::log_step(const StepMetrics& metrics) {
  log::info(step_line(metrics, colours_));
  const double now = unix_seconds();
  if (json_lines_) json_lines_->append(json_line(metrics, now));
  if (!events_) return;
  const Throughput& speed = metrics.throughput;
  const MemoryStats& memory = metrics.memory;
  const Scalar scalars[] = {
      {"loss_metrics/global_avg_loss", metrics.global_avg_loss},
      {"loss_metrics/global_max_loss", metrics.global_max_loss},
      {"grad_norm", metrics.grad_norm},
      {"throughput(tps)", speed.tps},
      {"tflops", speed.tflops},
      {"mfu(%)", speed.mfu},
      {"time_metrics/end_to_end(s)", speed.end_to_end_seconds},
      {"time_metrics/data_loading(s)", speed.data_loading_seconds},
      {"time_metrics/data_loading(%)", speed.data_loading_percent},
      {"memory/max_active(GiB)", memory.max_active_gib},
      {"memory/max_active(%)", memory.max_active_percent},
      {"memory/max_reserved(GiB)", memory.max_reserved_gib},
      {"memory/max_reserved(%)", memory.max_reserved_percent},
      {"memory/num_alloc_retries", static_cast<double>(memory.num_alloc_retries)},
      {"memory/num_ooms", static_cast<double>(memory.num_ooms)},
      {"n_tokens_seen", static_cast<double>(metrics.n_tokens_seen)},
      {"lr", metrics.lr},
  };
  events_->add_scalars(metrics.step, now, scalars);
}

void MetricsLogger::log_validation(const ValidationMetrics& metrics) {
  log::info(validation_line(metrics, colours_));
  const double now = unix_seconds();
  if (json_lines_) json_lines_->append(json_line(metrics, now));
  if (!events_) return;
  const MemoryStats& memory = metrics.memory;
  const Scalar scalars[] = {
      {"validation_metrics/loss", metrics.loss},
      {"validation_metrics/throughput(tps)", metrics.tps},
      {"validation_metrics/memory/max_active(GiB)", memory.max_active_gib},
      {"validation_metrics/memory/max_active(%)", memory.max_active_percent},
      {"validation_metrics/memory/max_reserved(GiB)", memory.max_reserved_gib},
      {"validation_metrics/memory/max_reserved(%)", memory.max_reserved_percent},
  };
  events_->add_scalars(metrics.step, now, scalars);
}

}  // namespace titan
