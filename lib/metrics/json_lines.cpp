#include "lib/metrics/json_lines.hpp"

#include <cmath>
#include <nlohmann/json.hpp>

#include "lib/base/error.hpp"
#include "lib/base/file.hpp"
#include "lib/base/log.hpp"
#include "lib/metrics/record_file.hpp"

namespace titan {
namespace {

using Json = nlohmann::ordered_json;

Json number(double value) {
  if (std::isfinite(value)) return value;
  if (std::isnan(value)) return "NaN";
  return value > 0 ? "Infinity" : "-Infinity";
}

void add_memory(Json& record, const MemoryStats& memory) {
  record["max_active_gib"] = number(memory.max_active_gib);
  record["max_active_percent"] = number(memory.max_active_percent);
  record["max_reserved_gib"] = number(memory.max_reserved_gib);
  record["max_reserved_percent"] = number(memory.max_reserved_percent);
  record["num_alloc_retries"] = memory.num_alloc_retries;
  record["num_ooms"] = memory.num_ooms;
}

}  // namespace

std::string json_line(const StepMetrics& metrics, double unix_seconds) {
  const Throughput& speed = metrics.throughput;
  Json record = {{"kind", "step"}, {"step", metrics.step}, {"time", unix_seconds}};
  record["global_avg_loss"] = number(metrics.global_avg_loss);
  record["global_max_loss"] = number(metrics.global_max_loss);
  record["grad_norm"] = number(metrics.grad_norm);
  record["lr"] = number(metrics.lr);
  record["n_tokens_seen"] = metrics.n_tokens_seen;
  record["update_skipped"] = metrics.update_skipped;
  record["tps"] = number(speed.tps);
  record["tflops"] = number(speed.tflops);
  record["mfu"] = number(speed.mfu);
  record["end_to_end_seconds"] = number(speed.end_to_end_seconds);
  record["data_loading_seconds"] = number(speed.data_loading_seconds);
  record["data_loading_percent"] = number(speed.data_loading_percent);
  add_memory(record, metrics.memory);
  return record.dump() + "\n";
}

std::string json_line(const ValidationMetrics& metrics, double unix_seconds) {
  Json record = {{"kind", "validation"}, {"step", metrics.step}, {"time", unix_seconds}};
  record["loss"] = number(metrics.loss);
  record["tps"] = number(metrics.tps);
  add_memory(record, metrics.memory);
  return record.dump() + "\n";
}

void repair_last_line(const std::filesystem::path& path) {
  std::error_code missing;
  if (!std::filesystem::is_regular_file(path, missing)) return;
  try {
    const std::string content = read_file(path);
    if (content.empty() || content.back() == '\n') return;
    const size_t last_newline = content.rfind('\n');
    const size_t start = last_newline == content.npos ? 0 : last_newline + 1;
    if (content[start] == '{' && Json::accept(content.substr(start))) {
      RecordFile(path).append("\n");
    } else {
      std::filesystem::resize_file(path, start);
      log::warning(concat("Removed the unfinished last line of ", path.string(), " (",
                          content.size() - start, " bytes), left by an interrupted run"));
    }
  } catch (const std::exception& error) {
    log::warning(concat("Cannot repair the last line of ", path.string(), ": ", error.what()));
  }
}

}  // namespace titan
