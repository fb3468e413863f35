// SwiGLU (kernels/activation/swiglu.hpp) straight into float8: the same values, rounded to T and
// then cast, bit for bit as SwiGLU followed by the copy. T is __nv_bfloat16 or float. Row-major,
// contiguous, 16-byte aligned; cols (F) is a multiple of 16; rows at least 1. Enqueues on `stream`:
// no allocation, no wait. Throws titan::Error when a launch fails.
#pragma once

#include "kernels/activation/swiglu.hpp"
#include "kernels/quantize/quantize.hpp"

namespace titan::kernels {

// The largest F of swiglu_rows and swiglu_backward_rows: what a block holds in registers and shared
// memory. 28672 and 16384 in bf16, half of them in fp32.
template <class T>
inline constexpr int64_t kSwigluRowsMaxCols = 28672 * 2 / sizeof(T);
template <class T>
inline constexpr int64_t kSwigluBackwardRowsMaxCols = 16384 * 2 / sizeof(T);

// The row copy of h, which is not written itself.
template <class T>
struct SwigluRows {
  const T* gate_up;  // [rows, 2 * cols]: gate | up
  RowCopyOutput out;
  int64_t rows;
  int64_t cols;
};
template <class T>
void swiglu_rows(const SwigluRows<T>& params, cudaStream_t stream);

// The column copy of h, made again from gate and up.
template <class T>
struct SwigluColumns {
  const T* gate_up;
  ColumnCopyOutput out;
  int64_t rows;  // a multiple of 16
  int64_t cols;
};
template <class T>
void swiglu_columns(const SwigluColumns<T>& params, cudaStream_t stream);

// The backward, and the row copy of what gate_up becomes: out is for [rows, 2 * cols].
template <class T>
struct SwigluBackwardRows {
  SwigluBackward<T> swiglu;
  bool restore_h;  // whether dh becomes h
  RowCopyOutput out;
};
template <class T>
void swiglu_backward_rows(const SwigluBackwardRows<T>& params, cudaStream_t stream);

}  // namespace titan::kernels
