// Fills a block of a parameter with initial values (initial_value.hpp). T: float or __nv_bfloat16.
// Enqueues on `stream`; no allocation, no wait. Throws Error when the launch fails.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/common/tensor_block.hpp"
#include "kernels/init/initial_value.hpp"

namespace titan::kernels {

template <class T>
struct Initialise {
  T* out = nullptr;  // [count], contiguous
  int64_t count = 0;
  InitialDistribution distribution;
  uint64_t seed = 0;
  uint64_t stream = 0;  // which parameter: a hash of its name
  TensorBlock block;    // of the whole parameter
};

template <class T>
void initialise(const Initialise<T>& params, cudaStream_t stream);

}  // namespace titan::kernels
