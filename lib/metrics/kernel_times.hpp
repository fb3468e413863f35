// Where the GPU's time went while a piece of work ran: every kernel and copy with its start and
// end. Kernels of several streams may overlap. Through Kineto; no torch header here.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

namespace titan {

struct KernelTimes {
  struct Entry {
    double milliseconds = 0;
    int64_t count = 0;
  };
  struct Interval {
    uint64_t start = 0, end = 0;  // nanoseconds
  };
  std::map<std::string, Entry> by_name;
  std::map<std::string, std::vector<Interval>> intervals;  // by name
  double span_milliseconds = 0;                            // from the first start to the last end
};

// How long at least one of the intervals lasted.
double covered_milliseconds(std::vector<KernelTimes::Interval> intervals);

// Whether a kernel or copy of this name is communication: NCCL's, copies between GPUs, and the sums
// of what these bring.
bool communicates(const std::string& kernel);

// How long communication ran, and how long nothing else ran beside it.
struct CommunicationTime {
  double milliseconds = 0;
  double exposed_milliseconds = 0;
};
CommunicationTime communication_time(const KernelTimes& times);
// How long nothing ran between the first start and the last end.
double idle_milliseconds(const KernelTimes& times);

// Runs `work`, waits for the device, and returns its times. Throws Error without a CUDA device.
KernelTimes measure_kernels_sync(const std::function<void()>& work);

}  // namespace titan
