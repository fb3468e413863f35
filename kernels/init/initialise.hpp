// Fills a contiguous block of a parameter with initial values (initial_value.hpp). T: float or
// __nv_bfloat16. Enqueues on `stream`; no allocation, no wait. Throws Error when the launch fails.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/init/initial_value.hpp"

namespace titan::kernels {

template <class T>
struct Initialise {
  T* out = nullptr;  // [count]
  int64_t count = 0;
  InitialDistribution distribution;
  uint64_t seed = 0;
  uint64_t stream = 0;      // which parameter: a hash of its name
  int64_t first_index = 0;  // of out[0] in the whole parameter
};

template <class T>
void initialise(const Initialise<T>& params, cudaStream_t stream);

}  // namespace titan::kernels
