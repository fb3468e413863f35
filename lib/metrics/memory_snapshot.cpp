#include "lib/metrics/memory_snapshot.hpp"

#include <atomic>
#include <iomanip>
#include <string>
#include <utility>

#include "lib/base/error.hpp"
#include "lib/base/file.hpp"
#include "lib/base/log.hpp"
#include "lib/metrics/throughput.hpp"

#if TITAN_CUDA
#include <ATen/Context.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <torch/csrc/cuda/memory_snapshot.h>
#endif

namespace titan {

struct MemorySnapshots::Recording {
  Config config;
  std::atomic<int64_t> completed_steps;
  std::atomic<bool> active{true};

  // Any thread; never throws.
  void dump(const std::string& iteration) const;
};

#if TITAN_CUDA
namespace {

constexpr size_t kHistoryEntries = 100'000;  // allocations and frees that a snapshot goes back

}  // namespace

void MemorySnapshots::Recording::dump(const std::string& iteration) const {
  const std::filesystem::path path =
      config.folder / iteration / concat("rank", config.rank, "_memory_snapshot.pickle");
  try {
    const double start = monotonic_seconds();
    std::filesystem::create_directories(path.parent_path());
    write_file_atomically(path, torch::cuda::_memory_snapshot_pickled());
    log::info(concat("Memory snapshot saved at ", path.string(), " in ", std::fixed,
                     std::setprecision(2), monotonic_seconds() - start, " seconds"));
  } catch (const std::exception& error) {
    log::warning(concat("Memory snapshot not saved: ", error.what()));
  }
}

MemorySnapshots::MemorySnapshots(Config config, int64_t completed_steps) {
  if (!config.enable) return;
  if (config.cuda_device == kNoCudaDevice) {
    log::warning("profiling.enable_memory_snapshot needs a CUDA device: no snapshots are taken");
    return;
  }
  TITAN_CHECK(config.freq > 0, "profiling.profile_freq must be at least 1, got ", config.freq);
  at::globalContext().lazyInitDevice(at::kCUDA);
  torch::cuda::_record_memory_history("all", "all", "all", kHistoryEntries);
  recording_ = std::make_shared<Recording>(std::move(config), completed_steps);
  // The observer runs before the allocation throws, while everything is still held.
  c10::cuda::CUDACachingAllocator::attachOutOfMemoryObserver(
      [recording = recording_](int64_t, size_t, size_t, size_t) {
        if (recording->active) {
          recording->dump(concat("iteration_", recording->completed_steps.load(), "_exit"));
        }
      });
  log::info(concat("Memory profiler active. Snapshots will be saved at ",
                   recording_->config.folder.string()));
}

MemorySnapshots::~MemorySnapshots() {
  if (!recording_) return;
  recording_->active = false;
  try {
    torch::cuda::_record_memory_history(std::nullopt);
  } catch (const std::exception& error) {
    log::warning(concat("Cannot stop recording the memory history: ", error.what()));
  }
}

#else

void MemorySnapshots::Recording::dump(const std::string&) const {}

MemorySnapshots::MemorySnapshots(Config config, int64_t) {
  if (config.enable) {
    log::warning(
        "profiling.enable_memory_snapshot needs CUDA, which this build is without: no "
        "snapshots are taken");
  }
}

MemorySnapshots::~MemorySnapshots() = default;

#endif

void MemorySnapshots::step(int64_t completed_steps) {
  if (!recording_) return;
  recording_->completed_steps = completed_steps;
  if (completed_steps % recording_->config.freq == 0) {
    recording_->dump(concat("iteration_", completed_steps));
  }
}

}  // namespace titan
