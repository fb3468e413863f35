// Kernels that start while the one before them ends (programmatic dependent launch): their blocks
// take their places as those of the kernel before leave, which closes the gap between the two. The
// CUDA C++ guide has it under that name, the PTX manual under griddepcontrol.
#pragma once

#include <cstdint>

#include "kernels/common/cuda_check.hpp"

namespace titan::kernels {

// For every thread of a kernel that launch_early() starts, before it reads or writes device memory:
// from here on the kernels before it in the stream are done and what they wrote is visible, and the
// next one may start, to wait here itself.
__device__ inline void wait_for_kernels_before() {
  asm volatile("griddepcontrol.wait;" ::: "memory");
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
}

// kernel<<<blocks, threads, shared_bytes, stream>>>(params...), started early.
template <class... Params>
void launch_early(const char* name, void (*kernel)(Params...), int64_t blocks, dim3 threads,
                  size_t shared_bytes, cudaStream_t stream, const Params&... params) {
  cudaLaunchAttribute early{};
  early.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  early.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(blocks));
  config.blockDim = threads;
  config.dynamicSmemBytes = shared_bytes;
  config.stream = stream;
  config.attrs = &early;
  config.numAttrs = 1;
  const cudaError_t status = cudaLaunchKernelEx(&config, kernel, params...);
  TITAN_CHECK(status == cudaSuccess, "launch of kernel ", name,
              " failed: ", cudaGetErrorString(status), " (", cudaGetErrorName(status), ")");
}

}  // namespace titan::kernels
