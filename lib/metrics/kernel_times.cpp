#include "lib/metrics/kernel_times.hpp"

#include <torch/csrc/autograd/profiler_kineto.h>

#include <algorithm>
#include <array>
#include <limits>

#include "lib/base/error.hpp"

#if TITAN_CUDA
#include <cuda_runtime_api.h>
#endif

namespace titan {
namespace {

using Intervals = std::vector<KernelTimes::Interval>;

Intervals intervals_of(const KernelTimes& times, bool communication, bool rest) {
  Intervals chosen;
  for (const auto& [name, intervals] : times.intervals) {
    if (communicates(name) ? communication : rest) {
      chosen.insert(chosen.end(), intervals.begin(), intervals.end());
    }
  }
  return chosen;
}

}  // namespace

bool communicates(const std::string& kernel) {
  return std::ranges::any_of(std::array{"nccl", "PtoP", "sum_of_ranks"}, [&](const char* word) {
    return kernel.find(word) != std::string::npos;
  });
}

double covered_milliseconds(Intervals intervals) {
  std::ranges::sort(intervals, {}, &KernelTimes::Interval::start);
  uint64_t covered = 0, until = 0;
  for (const auto& [start, end] : intervals) {
    if (end <= until) continue;
    covered += end - std::max(start, until);
    until = end;
  }
  return static_cast<double>(covered) / 1e6;
}

CommunicationTime communication_time(const KernelTimes& times) {
  const double rest = covered_milliseconds(intervals_of(times, false, true));
  return {.milliseconds = covered_milliseconds(intervals_of(times, true, false)),
          .exposed_milliseconds = covered_milliseconds(intervals_of(times, true, true)) - rest};
}

double idle_milliseconds(const KernelTimes& times) {
  return times.span_milliseconds - covered_milliseconds(intervals_of(times, true, true));
}

KernelTimes measure_kernels_sync(const std::function<void()>& work) {
#if TITAN_CUDA
  namespace kineto = torch::autograd::profiler;
  using torch::profiler::impl::ActivityType;
  const kineto::ProfilerConfig config(kineto::ProfilerState::KINETO);
  const std::set<ActivityType> activities{ActivityType::CUDA};
  kineto::prepareProfiler(config, activities);
  kineto::enableProfiler(config, activities);
  work();
  TITAN_CHECK(cudaDeviceSynchronize() == cudaSuccess, "the profiled work failed");
  const auto result = kineto::disableProfiler();

  KernelTimes times;
  uint64_t first = std::numeric_limits<uint64_t>::max(), last = 0;
  for (const kineto::KinetoEvent& event : result->events()) {
    if (event.deviceType() != c10::DeviceType::CUDA) continue;
    const double milliseconds = static_cast<double>(event.durationNs()) / 1e6;
    KernelTimes::Entry& entry = times.by_name[event.name()];
    entry.milliseconds += milliseconds;
    entry.count += 1;
    times.intervals[event.name()].push_back({event.startNs(), event.endNs()});
    first = std::min(first, event.startNs());
    last = std::max(last, event.endNs());
  }
  TITAN_CHECK(last > first, "no kernel was recorded: is CUPTI there?");
  times.span_milliseconds = static_cast<double>(last - first) / 1e6;
  return times;
#else
  (void)work;
  throw Error("this build has no CUDA kernels");
#endif
}

}  // namespace titan
