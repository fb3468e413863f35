// Failed CUDA runtime calls and launches become titan::Error with the call's text. Host code only.
#pragma once

#include <cuda_runtime_api.h>

#include "lib/base/error.hpp"

namespace titan::kernels {

inline void check_cuda(cudaError_t status, const char* what) {
  TITAN_CHECK(status == cudaSuccess, what, " failed: ", cudaGetErrorString(status), " (",
              cudaGetErrorName(status), ")");
}

// Right after a <<<>>> launch. Finds wrong launch settings; errors inside the kernel appear at the
// next call that waits for the device.
inline void check_launch(const char* kernel) {
  const cudaError_t status = cudaGetLastError();
  TITAN_CHECK(status == cudaSuccess, "launch of kernel ", kernel,
              " failed: ", cudaGetErrorString(status), " (", cudaGetErrorName(status), ")");
}

// Multiprocessors of the current device.
inline int multiprocessor_count() {
  int device = 0;
  int count = 0;
  check_cuda(cudaGetDevice(&device), "cudaGetDevice");
  check_cuda(cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device),
             "cudaDeviceGetAttribute(MultiProcessorCount)");
  return count;
}

}  // namespace titan::kernels

// TITAN_CUDA_CHECK(cudaMemsetAsync(p, 0, n, stream));
#define TITAN_CUDA_CHECK(call) ::titan::kernels::check_cuda((call), #call)
