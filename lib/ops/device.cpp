#include "lib/ops/device.hpp"

#include <atomic>

#include "lib/base/error.hpp"
#include "lib/ops/chip.hpp"
#include "lib/ops/matmul_plans.hpp"

#if TITAN_CUDA
#include <ATen/cuda/CUDAContextLight.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAStream.h>
#endif

namespace titan::ops {
namespace {

std::atomic<int> references_wanted = 0;

}  // namespace

ReferenceOps::ReferenceOps() { ++references_wanted; }
ReferenceOps::~ReferenceOps() { --references_wanted; }

Device::Device(at::Device device) : device_(device), name_("CPU") {}
Device::Device(Device&&) noexcept = default;
Device& Device::operator=(Device&&) noexcept = default;
Device::~Device() = default;

Device Device::cpu() { return Device(at::Device(at::kCPU)); }

#if TITAN_CUDA

Device Device::cuda(int index) {
  int count = 0;
  cudaError_t status = cudaGetDeviceCount(&count);
  if (status != cudaSuccess || index >= count) {
    throw InputError(concat(
        "CUDA device ", index, " is not available: ",
        status != cudaSuccess ? cudaGetErrorString(status) : concat(count, " visible").c_str(),
        "; set CUDA_VISIBLE_DEVICES= to run on the CPU"));
  }
  const std::optional<Chip> chip = visible_chip(index);
  TITAN_CHECK(chip.has_value(), "CUDA device ", index, " does not say what it is");
  c10::cuda::set_device(static_cast<c10::DeviceIndex>(index));
  Device device(at::Device(at::kCUDA, static_cast<c10::DeviceIndex>(index)));
  device.name_ = chip->name;
  device.plans_ = std::make_unique<MatmulPlans>();
  return device;
}

Device Device::preferred(int index) {
  const std::optional<Chip> chip = visible_chip(index);
  if (!chip) return cpu();
  require_kernels(*chip);
  return cuda(index);
}

void Device::wait_sync() const {
  if (is_cuda()) c10::cuda::device_synchronize();
}

bool runs_kernels(const at::Tensor& tensor) {
  if (!tensor.is_cuda() || references_wanted > 0) return false;
  const cudaDeviceProp& properties = *at::cuda::getDeviceProperties(tensor.device().index());
  return has_kernels({.name = {}, .major = properties.major, .minor = properties.minor});
}

cudaStream_t current_stream() { return c10::cuda::getCurrentCUDAStream().stream(); }

#else

Device Device::cuda(int) {
  throw InputError("this build has no CUDA kernels: install nvcc (CUDA 13.0) and build again");
}
Device Device::preferred(int) { return cpu(); }
void Device::wait_sync() const {}
bool runs_kernels(const at::Tensor&) { return false; }

#endif

}  // namespace titan::ops
