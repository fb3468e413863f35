#include "lib/metrics/memory.hpp"

#if TITAN_CUDA
#include <ATen/Context.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <cuda_runtime_api.h>
#endif

#include <cstdio>

#include "lib/base/error.hpp"
#include "lib/base/log.hpp"

namespace titan {

#if TITAN_CUDA
namespace {

namespace allocator = c10::cuda::CUDACachingAllocator;

constexpr double kGiB = 1024.0 * 1024.0 * 1024.0;

void warn_when_more(int64_t count, int64_t& warned, const char* what) {
  if (count > warned) log::warning(concat(count, what));
  warned = count;
}

}  // namespace

MemoryMonitor::MemoryMonitor(int cuda_device) : device_(cuda_device) {
  if (device_ == kNoCudaDevice) return;
  at::globalContext().lazyInitDevice(at::kCUDA);  // the allocator knows no device before
  cudaDeviceProp properties{};
  const cudaError_t status = cudaGetDeviceProperties(&properties, device_);
  TITAN_CHECK(status == cudaSuccess, "cannot read the properties of CUDA device ", device_, ": ",
              cudaGetErrorString(status));
  name_ = properties.name;
  capacity_ = static_cast<int64_t>(properties.totalGlobalMem);
  reset_peaks();
}

MemoryStats MemoryMonitor::peaks() {
  if (device_ == kNoCudaDevice) return {};
  const auto stats = allocator::getDeviceStats(static_cast<c10::DeviceIndex>(device_));
  warn_when_more(stats.num_alloc_retries, warned_retries_, " CUDA memory allocation retries.");
  warn_when_more(stats.num_ooms, warned_ooms_, " CUDA OOM errors thrown.");
  constexpr auto kAll = static_cast<size_t>(c10::CachingAllocator::StatType::AGGREGATE);
  const auto active = static_cast<double>(stats.active_bytes[kAll].peak + outside_);
  const auto reserved = static_cast<double>(stats.reserved_bytes[kAll].peak + outside_);
  const double percent = 100 / static_cast<double>(capacity_);
  return {.max_active_gib = active / kGiB,
          .max_active_percent = active * percent,
          .max_reserved_gib = reserved / kGiB,
          .max_reserved_percent = reserved * percent,
          .num_alloc_retries = stats.num_alloc_retries,
          .num_ooms = stats.num_ooms};
}

void MemoryMonitor::reset_peaks() {
  if (device_ == kNoCudaDevice) return;
  allocator::resetPeakStats(static_cast<c10::DeviceIndex>(device_));
}

std::string MemoryMonitor::capacity_line() const {
  if (device_ == kNoCudaDevice) return "CPU: memory use is not tracked and shows 0";
  char gib[32];
  std::snprintf(gib, sizeof gib, "%.2f", static_cast<double>(capacity_) / kGiB);
  return concat("CUDA capacity: ", name_, " with ", gib, "GiB memory");
}

#else

MemoryMonitor::MemoryMonitor(int cuda_device) : device_(cuda_device) {
  TITAN_CHECK(device_ == kNoCudaDevice, "this build has no CUDA, yet CUDA device ", device_,
              " was asked for");
}
MemoryStats MemoryMonitor::peaks() { return {}; }
void MemoryMonitor::reset_peaks() {}
std::string MemoryMonitor::capacity_line() const {
  return "CPU: memory use is not tracked and shows 0";
}

#endif

}  // namespace titan
