// The end of a float8 product over parts of its contraction: the parts are added, scaled and
// rounded once. T is __nv_bfloat16 or float. Enqueues on `stream`: no allocation, no wait. The same
// inputs give the same bits. Throws titan::Error when the launch fails.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace titan::kernels {

// out[r][c] = row_scales[r] · column_scales[c] · (parts[0][r][c] + parts[1][r][c] + ...)
//             (+ addend[r][c]). Scales are powers of two, 0, infinite or NaN.
template <class T>
struct SumParts {
  const float* parts;  // [count, rows, cols]
  int64_t count;
  const float* row_scales;     // [rows]
  const float* column_scales;  // [cols]
  const T* addend;             // [rows, cols], rows addend_stride apart; may be null, may be out
  int64_t addend_stride;
  T* out;  // [rows, cols], rows out_stride apart
  int64_t out_stride;
  int64_t rows;
  int64_t cols;  // a multiple of 4, like both strides; addresses are aligned for 4 values
};
template <class T>
void sum_parts(const SumParts<T>& params, cudaStream_t stream);

}  // namespace titan::kernels
