// The device a process computes on, and what belongs to it: the stream, the matmul plans and their
// workspace. Passed down by reference; there is no global one.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>

#if TITAN_CUDA
#include <cuda_runtime_api.h>
#endif

namespace titan::ops {

class MatmulPlans;

class Device {
 public:
  // The CPU, with ATen's own threads.
  static Device cpu();
  // CUDA device `index`, of any compute capability; makes it current. Throws InputError when there
  // is none or when the driver is too old.
  static Device cuda(int index);
  // cuda(index) when a device is visible and this build has kernels, else cpu(). Throws InputError
  // when the chip is not one that the kernels were built for (compute capability 9.0).
  static Device preferred(int index = 0);

  Device(Device&&) noexcept;
  Device& operator=(Device&&) noexcept;
  ~Device();

  at::Device torch() const { return device_; }
  bool is_cuda() const { return device_.is_cuda(); }
  // "NVIDIA H200", or "CPU".
  const std::string& name() const { return name_; }
  at::TensorOptions options(at::ScalarType dtype) const {
    return at::TensorOptions().device(device_).dtype(dtype);
  }
  // Waits until all work enqueued so far is done.
  void wait_sync() const;
  // The cuBLASLt plans of this device; CUDA only.
  MatmulPlans& matmul_plans() const { return *plans_; }

 private:
  explicit Device(at::Device device);
  at::Device device_;
  std::string name_;
  std::unique_ptr<MatmulPlans> plans_;
};

// Whether the ops on this tensor run the CUDA kernels: where it lies on a chip that they are built
// for. On the CPU and on other GPUs they run plain ATen, the reference ops.
bool runs_kernels(const at::Tensor& tensor);

// While one lives, no op runs a CUDA kernel of ours: shows on any GPU how another chip computes.
class ReferenceOps {
 public:
  ReferenceOps();
  ~ReferenceOps();
  ReferenceOps(const ReferenceOps&) = delete;
  ReferenceOps& operator=(const ReferenceOps&) = delete;
};

#if TITAN_CUDA
// The stream that ATen currently enqueues on: kernels are launched there, so that the caching
// allocator's reuse rules hold.
cudaStream_t current_stream();
#endif

}  // namespace titan::ops
