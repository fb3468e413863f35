// The backward of a sigmoid, dx = dy · (1 - y) · y, and the row copy of dx, bit for bit as one
// after the other. T is __nv_bfloat16 or float; arithmetic is in fp32, each product rounded, then
// dx to T. Row-major, contiguous, 16-byte aligned; cols is a multiple of 16. Enqueues on `stream`:
// no allocation, no wait. Throws titan::Error when a launch fails.
#pragma once

#include "kernels/quantize/quantize.hpp"

namespace titan::kernels {

// What a block holds in registers and shared memory: 28672 in bf16.
template <class T>
inline constexpr int64_t kSigmoidBackwardRowsMaxCols = 28672 * 2 / sizeof(T);

template <class T>
struct SigmoidBackwardRows {
  const T* dy;  // [rows, cols]
  const T* y;   // of the forward
  T* dx;
  RowCopyOutput out;
  int64_t rows;  // at least 1
  int64_t cols;
};
template <class T>
void sigmoid_backward_rows(const SigmoidBackwardRows<T>& params, cudaStream_t stream);

}  // namespace titan::kernels
