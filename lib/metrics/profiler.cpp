#include "lib/metrics/profiler.hpp"

#include <ATen/record_function.h>
#include <torch/csrc/autograd/profiler_kineto.h>

#include <optional>
#include <set>
#include <string>
#include <utility>

#include "lib/base/error.hpp"
#include "lib/base/file.hpp"
#include "lib/base/log.hpp"
#include "lib/metrics/throughput.hpp"

namespace titan {

namespace kineto = torch::autograd::profiler;
using torch::profiler::impl::ActivityType;

namespace {

// Kineto writes the trace itself and reports no failure, so the file is checked: a whole one ends
// with the bracket that closes it.
void check_trace_is_whole(const std::filesystem::path& path) {
  const std::string content = read_file(path);
  const size_t last = content.find_last_not_of(" \n");
  TITAN_CHECK(last != content.npos && content[last] == '}', "cannot write all of ", path.string(),
              ": is the disk full?");
}

}  // namespace

class Profiler::Session {
 public:
  Session(Config config, int64_t completed_steps)
      : config_(std::move(config)), completed_steps_(completed_steps) {
    enter(phase_after(completed_steps));
  }

  ~Session() {
    if (phase_ == Phase::kRecord) save();
    if (phase_ == Phase::kWarmup) {
      enable();
      kineto::disableProfiler();
    }
  }

  void step(int64_t completed_steps) {
    completed_steps_ = completed_steps;
    step_scope_.reset();
    if (phase_ == Phase::kRecord && completed_steps % config_.freq == 0) {
      save();
      phase_ = Phase::kWait;
    }
    enter(phase_after(completed_steps));
  }

 private:
  enum class Phase { kWait, kWarmup, kRecord };

  // What to do during the step that follows.
  Phase phase_after(int64_t completed_steps) const {
    const int64_t to_cycle_end = config_.freq - completed_steps % config_.freq;
    if (to_cycle_end <= config_.active) return Phase::kRecord;
    return to_cycle_end <= config_.active + config_.warmup ? Phase::kWarmup : Phase::kWait;
  }

  void enter(Phase next) {
    if (next != Phase::kWait && phase_ == Phase::kWait) prepare();
    if (next == Phase::kRecord && phase_ != Phase::kRecord) enable();
    phase_ = next;
    if (phase_ == Phase::kRecord) {
      step_scope_.emplace(at::RecordScope::USER_SCOPE);
      step_scope_->before(concat("ProfilerStep#", completed_steps_ + 1));
    }
  }

  void prepare() { kineto::prepareProfiler(profiler_config(), activities()); }
  void enable() { kineto::enableProfiler(profiler_config(), activities()); }

  kineto::ProfilerConfig profiler_config() const {
    return kineto::ProfilerConfig(kineto::ProfilerState::KINETO, /*report_input_shapes=*/true);
  }

  std::set<ActivityType> activities() const {
    std::set<ActivityType> chosen{ActivityType::CPU};
    if (config_.cuda) chosen.insert(ActivityType::CUDA);
    return chosen;
  }

  void save() {
    step_scope_.reset();
    const std::filesystem::path path = config_.folder / concat("iteration_", completed_steps_) /
                                       concat("rank", config_.rank, "_trace.json");
    std::filesystem::path temporary = path;
    temporary.replace_extension(".tmp.json");
    log::info(concat("Dumping profiler traces at step ", completed_steps_));
    const double start = monotonic_seconds();
    try {
      const auto result = kineto::disableProfiler();
      std::filesystem::create_directories(path.parent_path());
      result->save(temporary.string());
      check_trace_is_whole(temporary);
      std::filesystem::rename(temporary, path);
      log::info(
          concat("Finished dumping profiler traces in ", monotonic_seconds() - start, " seconds"));
    } catch (const std::exception& error) {
      std::error_code absent;
      std::filesystem::remove(temporary, absent);
      log::warning(concat("Profiler trace not saved: ", error.what()));
    }
  }

  Config config_;
  int64_t completed_steps_;
  Phase phase_ = Phase::kWait;
  std::optional<at::RecordFunction> step_scope_;
};

Profiler::Profiler(Config config, int64_t completed_steps) {
  if (!config.enable) return;
  if (config.active < 1 || config.warmup < 0 || config.freq < config.active + config.warmup) {
    throw InputError(concat("profiling.profile_freq = ", config.freq, " is shorter than ",
                            "profiler_warmup (", config.warmup, ") + profiler_active (",
                            config.active, ", at least 1): raise it or lower those"));
  }
  log::info(concat("Profiling active. Traces will be saved at ", config.folder.string()));
  session_ = std::make_unique<Session>(std::move(config), completed_steps);
}

Profiler::~Profiler() = default;

void Profiler::step(int64_t completed_steps) {
  if (session_) session_->step(completed_steps);
}

}  // namespace titan
