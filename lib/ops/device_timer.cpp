#include "lib/ops/device_timer.hpp"

#include <algorithm>
#include <vector>

#include "lib/base/error.hpp"

#if TITAN_CUDA
#include <ATen/cuda/CUDAEvent.h>
#include <ATen/cuda/Sleep.h>

namespace titan::ops {
namespace {

constexpr int64_t kHeadStartCycles = 10'000'000;  // 5 ms of an H200, some 500 launches

at::cuda::CUDAEvent timing_event() { return at::cuda::CUDAEvent(cudaEventDefault); }

}  // namespace

double median_milliseconds(const Device& device, TimedRuns count, const std::function<void()>& work,
                           const std::function<void()>& prepare) {
  if (!device.is_cuda()) throw InputError("timing needs a CUDA device; none is visible");
  const auto run = [&] {
    if (prepare) prepare();
    work();
  };
  for (int i = 0; i < count.warm_up; ++i) run();
  std::vector<at::cuda::CUDAEvent> starts, stops;
  for (int i = 0; i < count.runs; ++i) {
    starts.push_back(timing_event());
    stops.push_back(timing_event());
  }
  at::cuda::sleep(kHeadStartCycles);
  for (size_t i = 0; i < starts.size(); ++i) {
    if (prepare) prepare();
    starts[i].record();
    work();
    stops[i].record();
  }
  device.wait_sync();
  std::vector<double> times;
  for (size_t i = 0; i < starts.size(); ++i) times.push_back(starts[i].elapsed_time(stops[i]));
  std::nth_element(times.begin(), times.begin() + count.runs / 2, times.end());
  return times[static_cast<size_t>(count.runs / 2)];
}

}  // namespace titan::ops

#else

namespace titan::ops {

double median_milliseconds(const Device&, TimedRuns, const std::function<void()>&,
                           const std::function<void()>&) {
  throw InputError("this build has no CUDA kernels to time: install nvcc (CUDA 13.0), build again");
}

}  // namespace titan::ops

#endif
