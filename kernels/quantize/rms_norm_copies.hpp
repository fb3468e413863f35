// RMSNorm (kernels/norm/rms_norm.hpp) straight into float8: the same values, rounded to T and then
// cast, bit for bit as the norm followed by the copy. T is __nv_bfloat16 or float. Row-major,
// contiguous, 16-byte aligned; cols is a multiple of 16 and at most kRmsNormMaxCols<T>; rows at
// least 1. Enqueues on `stream`: no allocation, no wait. Throws titan::Error when a launch fails.
#pragma once

#include "kernels/norm/rms_norm.hpp"
#include "kernels/quantize/quantize.hpp"

namespace titan::kernels {

// The row copy of y, which is not written itself.
template <class T>
struct RmsNormRows {
  const T* x;       // [rows, cols]
  const T* weight;  // [cols]
  float* rstd;      // [rows]
  RowCopyOutput out;
  int64_t rows;
  int64_t cols;
  float eps;
};
template <class T>
void rms_norm_rows(const RmsNormRows<T>& params, cudaStream_t stream);

// The column copy of y, made again from x.
template <class T>
struct RmsNormColumns {
  const T* x;
  const T* weight;
  const float* rstd;
  ColumnCopyOutput out;
  int64_t rows;  // a multiple of 16
  int64_t cols;
};
template <class T>
void rms_norm_columns(const RmsNormColumns<T>& params, cudaStream_t stream);

// The backward, and the row copy of dx. norm.residual_gradient is not null; norm.partials is as for
// rms_norm_backward.
template <class T>
struct RmsNormBackwardRows {
  RmsNormBackward<T> norm;
  RowCopyOutput out;
};
template <class T>
void rms_norm_backward_rows(const RmsNormBackwardRows<T>& params, cudaStream_t stream);

}  // namespace titan::kernels
