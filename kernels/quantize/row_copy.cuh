// The end of every kernel that writes a row copy: a row group (row_group.cuh) holds a row in
// registers, rounded to the dtype that it would have in memory.
#pragma once

#include "kernels/common/row_group.cuh"
#include "kernels/common/row_part.cuh"
#include "kernels/quantize/float8.cuh"
#include "kernels/quantize/quantize.hpp"

namespace titan::kernels {

// What a row group gives to a row copy: `cols` columns of it, whose rows are `stride` apart, and
// the largest magnitude so far in each column that this thread holds.
template <class T>
class RowCopyWriter {
 public:
  __device__ RowCopyWriter(const RowCopyOutput& out, int64_t cols, int64_t stride)
      : out_(out), cols_(static_cast<int>(cols)), stride_(stride) {}

  // Takes in the magnitudes of a row. Returns the largest that this thread holds, as the bits of a
  // float.
  __device__ uint32_t include(const RowPart<T>& row) {
    Vector<T> of_row = zero_vector<T>();
#pragma unroll
    for (int k = 0; k < kVectorsPerThread; ++k) {
      const Vector<T> of_vector = magnitudes(row.vectors[k]);
      include_magnitudes(of_row, of_vector);
      include_magnitudes(column_maxima_.vectors[k], of_vector);
    }
    return largest(of_row);
  }

  __device__ void store(int64_t index, const RowPart<T>& row, const Float8Scale& scale) const {
    uint8_t* values = computed_once(out_.values + index * stride_);
#pragma unroll
    for (int k = 0; k < kVectorsPerThread; ++k) {
      const int column = RowPart<T>::column(k);
      if (column < cols_) store_float8(values + column, row.vectors[k], scale.scale);
    }
    if (threadIdx.x == 0) out_.inverse_scales[index] = scale.inverse;
  }

  // By all threads of the block, once its groups have read all else in `shared` (for each group
  // cols values of T): joins the block's maxima to column_amax.
  __device__ void finish(unsigned char* shared) const {
    if (out_.column_amax == nullptr) return;
    T* values = reinterpret_cast<T*>(shared);
    __syncthreads();
#pragma unroll
    for (int k = 0; k < kVectorsPerThread; ++k) {
      const int column = RowPart<T>::column(k);
      if (column < cols_) {
        *reinterpret_cast<uint4*>(values + threadIdx.y * cols_ + column) =
            column_maxima_.vectors[k].bits;
      }
    }
    __syncthreads();
    const int thread = static_cast<int>(threadIdx.x + threadIdx.y * blockDim.x);
    for (int i = thread; i < cols_; i += static_cast<int>(blockDim.x * blockDim.y)) {
      uint32_t largest = 0;
      for (unsigned group = 0; group < blockDim.y; ++group) {
        largest = max(largest, float_bits(values[group * cols_ + i]));
      }
      atomicMax(reinterpret_cast<unsigned*>(out_.column_amax) + i, largest);
    }
  }

 private:
  const RowCopyOutput out_;
  const int cols_;
  const int64_t stride_;
  RowPart<T> column_maxima_ = {};
};

}  // namespace titan::kernels
