// The part of a row that a thread holds in registers: 4 vectors of 16 bytes, threadIdx.x,
// threadIdx.x + blockDim.x, ... A block of row_threads() threads holds the row.
#pragma once

#include "kernels/common/reduce.cuh"
#include "kernels/common/vector.cuh"

namespace titan::kernels {

inline constexpr int kVectorsPerThread = 4;

// Whole warps; 128 threads for 4096 bf16 values.
template <class T>
int row_threads(int64_t cols) {
  constexpr int64_t kColsPerWarp = kWarpSize * kVectorsPerThread * kVectorWidth<T>;
  return static_cast<int>((cols + kColsPerWarp - 1) / kColsPerWarp) * kWarpSize;
}

template <class T>
struct RowPart {
  Vector<T> vectors[kVectorsPerThread];

  __device__ static int column(int k) {
    return static_cast<int>(threadIdx.x + k * blockDim.x) * kVectorWidth<T>;
  }

  // From device or shared memory. Zeros past the end of the row.
  __device__ void load(const T* row, int cols) {
#pragma unroll
    for (int k = 0; k < kVectorsPerThread; ++k) {
      vectors[k] = column(k) < cols ? load_vector(row + column(k)) : zero_vector<T>();
    }
  }

  __device__ void stay_packed() {
#pragma unroll
    for (int k = 0; k < kVectorsPerThread; ++k) kernels::stay_packed(vectors[k]);
  }
};

}  // namespace titan::kernels
