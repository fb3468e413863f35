// Float8 e4m3 copies of a matrix X[rows, cols]. T is __nv_bfloat16 or float. All addresses are
// 16-byte aligned, strides (in elements) are multiples of 16 bytes, cols is a multiple of 16.
// Enqueues on `stream`: no allocation, no wait. The same inputs give the same bits. Throws
// titan::Error when a launch fails.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace titan::kernels {

// The row copy of a matrix, and what its column copy needs to know.
struct RowCopyOutput {
  uint8_t* values;        // [rows, cols]
  float* inverse_scales;  // [rows]
  float* column_amax;     // [cols], zeros before; may be null
};

// The column copy of a matrix.
struct ColumnCopyOutput {
  uint8_t* values;             // [cols, rows]
  float* inverse_scales;       // [cols]
  const float* column_amax;    // [cols], of these very values
  int64_t column_amax_stride;  // 1, or 0: one amax for all columns
};

template <class T>
struct QuantizeRows {
  const T* x;
  int64_t stride;
  RowCopyOutput out;
  int64_t rows;
  int64_t cols;
};
template <class T>
void quantize_rows(const QuantizeRows<T>& params, cudaStream_t stream);

template <class T>
struct ColumnAmax {
  const T* x;
  int64_t stride;
  float* column_amax;  // [cols], zeros before
  int64_t rows;
  int64_t cols;
};
template <class T>
void column_amax(const ColumnAmax<T>& params, cudaStream_t stream);

template <class T>
struct QuantizeColumns {
  const T* x;
  int64_t stride;
  ColumnCopyOutput out;
  int64_t rows;  // a multiple of 16
  int64_t cols;
};
template <class T>
void quantize_columns(const QuantizeColumns<T>& params, cudaStream_t stream);

}  // namespace titan::kernels
