// The end of every kernel that writes a row copy: a row group (row_group.cuh) holds a row in
// registers, rounded to the dtype that it would have in memory.
#pragma once

#include "kernels/common/cuda_check.hpp"
#include "kernels/common/row_group.cuh"
#include "kernels/common/row_part.cuh"
#include "kernels/quantize/float8.cuh"
#include "kernels/quantize/quantize.hpp"

namespace titan::kernels {

// The amax of this thread's part, as the bits of a float.
template <class T>
__device__ uint32_t largest(const RowPart<T>& row) {
  Vector<T> maxima = zero_vector<T>();
#pragma unroll
  for (const Vector<T>& vector : row.vectors) include_magnitudes(maxima, vector);
  return largest(maxima);
}

template <class T>
__device__ void store_float8(uint8_t* values, const RowPart<T>& row, float scale, int cols) {
#pragma unroll
  for (int k = 0; k < kVectorsPerThread; ++k) {
    const int column = RowPart<T>::column(k);
    if (column < cols) store_float8(values + column, row.vectors[k], scale);
  }
}

// The largest magnitude so far in each column that this thread holds.
template <class T>
struct ColumnMaxima {
  RowPart<T> maxima = {};

  __device__ void include(const RowPart<T>& row) {
#pragma unroll
    for (int k = 0; k < kVectorsPerThread; ++k) {
      include_magnitudes(maxima.vectors[k], row.vectors[k]);
    }
  }

  // By all threads of the block, once its groups have read all else in `shared` (for each group
  // cols values of T): joins the block's maxima to column_amax[cols], which starts as zeros.
  __device__ void join(float* column_amax, unsigned char* shared, int cols) const {
    T* values = reinterpret_cast<T*>(shared);
    __syncthreads();
#pragma unroll
    for (int k = 0; k < kVectorsPerThread; ++k) {
      const int column = RowPart<T>::column(k);
      if (column < cols) {
        *reinterpret_cast<uint4*>(values + threadIdx.y * cols + column) = maxima.vectors[k].bits;
      }
    }
    __syncthreads();
    const int thread = static_cast<int>(threadIdx.x + threadIdx.y * blockDim.x);
    for (int i = thread; i < cols; i += static_cast<int>(blockDim.x * blockDim.y)) {
      uint32_t largest = 0;
      for (unsigned group = 0; group < blockDim.y; ++group) {
        largest = max(largest, float_bits(values[group * cols + i]));
      }
      atomicMax(reinterpret_cast<unsigned*>(column_amax) + i, largest);
    }
  }
};

// Before a kernel that joins its column maxima.
inline void clear_column_amax(const RowCopyOutput& out, int64_t cols, cudaStream_t stream) {
  if (out.column_amax == nullptr) return;
  const auto bytes = static_cast<size_t>(cols) * sizeof(float);
  TITAN_CUDA_CHECK(cudaMemsetAsync(out.column_amax, 0, bytes, stream));
}

}  // namespace titan::kernels
