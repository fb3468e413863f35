// Peaks of the CUDA caching allocator between two log lines. On the CPU, and in a build without
// CUDA, every figure is zero. No torch header here, so that only memory.cpp pays for them. One
// thread.
#pragma once

#include <cstdint>
#include <string>

#include "lib/metrics/metrics.hpp"

namespace titan {

constexpr int kNoCudaDevice = -1;

class MemoryMonitor {
 public:
  // Starts with fresh peaks. Throws Error when the device does not answer.
  explicit MemoryMonitor(int cuda_device = kNoCudaDevice);

  // Since construction or reset_peaks(). Logs a warning when allocation retries (the allocator gave
  // its cache back to the driver and tried again: slow) or out-of-memory errors have been added.
  MemoryStats peaks();

  void reset_peaks();

  // What this process has of the device beside ATen's allocator: added to the peaks from now on.
  void count_outside_allocator(int64_t bytes) { outside_ = bytes; }

  // Bytes of the whole device; 0 on the CPU.
  int64_t capacity() const { return capacity_; }

  // "CUDA capacity: NVIDIA H200 with 139.81GiB memory"; on the CPU that memory is not tracked.
  std::string capacity_line() const;

 private:
  int device_;
  std::string name_ = "CPU";
  int64_t capacity_ = 0;
  int64_t outside_ = 0;
  int64_t warned_retries_ = 0;
  int64_t warned_ooms_ = 0;
};

}  // namespace titan
