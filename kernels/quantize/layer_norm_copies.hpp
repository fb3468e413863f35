// LayerNorm without weight over the rows of x, in its own dtype and in float8, and its backward. T
// is __nv_bfloat16 or float; arithmetic is in fp32, rounded to T once; the copies are those of the
// rounded values. Row-major, contiguous, 16-byte aligned; cols is a multiple of 16 and at most
// kLayerNormMaxCols<T>; rows at least 1. Enqueues on `stream`: no allocation, no wait. The same
// inputs give the same bits. Throws titan::Error when a launch fails.
#pragma once

#include "kernels/quantize/quantize.hpp"

namespace titan::kernels {

// What a block holds in registers and shared memory: 28672 in bf16.
template <class T>
inline constexpr int64_t kLayerNormMaxCols = 28672 * 2 / sizeof(T);

// mean, rstd = 1 / sqrt(mean((x - mean)²) + eps);  y = (x - mean) · rstd.
template <class T>
struct LayerNormRows {
  const T* x;         // [rows, cols]
  T* y;               // may be null
  float* mean;        // [rows]
  float* rstd;        // [rows]
  RowCopyOutput out;  // of y; values may be null: none
  int64_t rows;
  int64_t cols;
  float eps;
};
template <class T>
void layer_norm_rows(const LayerNormRows<T>& params, cudaStream_t stream);

// The column copy of y, made again from x.
template <class T>
struct LayerNormColumns {
  const T* x;
  const float* mean;
  const float* rstd;
  ColumnCopyOutput out;
  int64_t rows;  // a multiple of 16
  int64_t cols;
};
template <class T>
void layer_norm_columns(const LayerNormColumns<T>& params, cudaStream_t stream);

// dx = rstd · (dy - mean(dy) - y · mean(dy · y)), the means over the row, with y unrounded.
template <class T>
struct LayerNormBackward {
  const T* dy;
  const T* x;
  const float* mean;
  const float* rstd;
  T* dx;
  int64_t rows;
  int64_t cols;
};
template <class T>
void layer_norm_backward(const LayerNormBackward<T>& params, cudaStream_t stream);

}  // namespace titan::kernels
