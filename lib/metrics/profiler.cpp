#include "lib/metrics/profiler.hpp"

#include <ATen/record_function.h>
#include <torch/csrc/autograd/profiler_kineto.h>

#if TITAN_CUDA
#include <cuda_runtime_api.h>
#endif

#include <algorithm>
#include <fstream>
#include <iomanip>
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

// Kineto writes the trace itself and reports no failure, so the file is looked at: the trace's name
// is the last thing that it writes.
void check_trace_is_whole(const std::filesystem::path& path) {
  const size_t longest_ending = path.string().size() + 100;
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  const auto size = static_cast<size_t>(std::max<std::streamoff>(file.tellg(), 0));
  std::string ending(std::min(size, longest_ending), '\0');
  file.seekg(static_cast<std::streamoff>(size - ending.size()))
      .read(ending.data(), std::ssize(ending));
  TITAN_CHECK(file && ending.find("\"traceName\"") != ending.npos && ending.ends_with('}'),
              "cannot write all of ", path.string(), ": is the disk full?");
}

}  // namespace

class Profiler::Session {
 public:
  Session(Config config, int64_t completed_steps)
      : config_(std::move(config)), completed_steps_(completed_steps) {
    enter(phase_after(completed_steps));
  }

  ~Session() {
    step_scope_.reset();
    if (phase_ == Phase::kWarmup) enable();  // only what is enabled can be disabled
    if (phase_ == Phase::kRecord && completed_steps_ > recording_since_) {
      save();
    } else if (phase_ != Phase::kWait) {
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
    if (next == Phase::kRecord && phase_ != Phase::kRecord) {
      enable();
      recording_since_ = completed_steps_;
    }
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

  // Kernels of the recorded steps may still be queued: what has not run yet would be missing.
  void wait_for_gpu_sync() const {
#if TITAN_CUDA
    if (config_.cuda) cudaDeviceSynchronize();
#endif
  }

  void save() {
    wait_for_gpu_sync();
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
      sync_descriptor(open_for_reading(temporary).get(), temporary);
      std::filesystem::rename(temporary, path);
      log::info(concat("Finished dumping profiler traces in ", std::fixed, std::setprecision(2),
                       monotonic_seconds() - start, " seconds"));
    } catch (const std::exception& error) {
      std::error_code absent;
      std::filesystem::remove(temporary, absent);
      log::warning(concat("Profiler trace not saved: ", error.what()));
    }
  }

  Config config_;
  int64_t completed_steps_;
  int64_t recording_since_ = 0;  // the steps that were completed when the recording began
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
