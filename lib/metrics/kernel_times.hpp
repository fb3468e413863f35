// Where the GPU's time went while a piece of work ran: the duration of every kernel and copy, by
// name, and the span from the first to the last. Through Kineto; no torch header here.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>

namespace titan {

struct KernelTimes {
  struct Entry {
    double milliseconds = 0;
    int64_t count = 0;
  };
  std::map<std::string, Entry> by_name;
  double busy_milliseconds = 0;  // sum over all
  double span_milliseconds = 0;  // from the first start to the last end
};

// Runs `work`, waits for the device, and returns its times. Throws Error without a CUDA device.
KernelTimes measure_kernels_sync(const std::function<void()>& work);

}  // namespace titan
