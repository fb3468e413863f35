// Times work on a CUDA device between pairs of events.
#pragma once

#include <functional>

#include "lib/ops/device.hpp"

namespace titan::ops {

struct TimedRuns {
  int warm_up = 3;
  int runs = 15;
};

// The median of the times of `work`, in milliseconds. Each run lies between two events, with
// `prepare` (if any) before the first. All runs are enqueued at once, behind a kernel that waits
// long enough for the host to be ahead: the time is the device's alone. Waits for the device.
// Throws InputError on the CPU.
double median_milliseconds(const Device& device, TimedRuns count, const std::function<void()>& work,
                           const std::function<void()>& prepare = {});

}  // namespace titan::ops
