// RMSNorm over the rows of a matrix, forward and backward. T is __nv_bfloat16 or float; arithmetic
// is in fp32 and each output is rounded once. Row-major, contiguous, 16-byte aligned; cols is a
// multiple of 16 / sizeof(T) and at most kRmsNormMaxCols<T>. Enqueues on `stream`: no allocation,
// no wait. The same inputs give the same bits. Throws titan::Error when a launch fails.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace titan::kernels {

// 16384 in bf16, 8192 in fp32: a block of 512 threads holds a row, 64 bytes each.
template <class T>
inline constexpr int64_t kRmsNormMaxCols = 512 * 64 / sizeof(T);

template <class T>
struct RmsNormForward {
  const T* x;       // [rows, cols]
  const T* weight;  // [cols]
  T* y;             // [rows, cols]
  float* rstd;      // [rows]
  int64_t rows;
  int64_t cols;
  float eps;
};

// rstd = 1 / sqrt(mean(x²) + eps);  y = x · rstd · weight.
template <class T>
void rms_norm_forward(const RmsNormForward<T>& params, cudaStream_t stream);

template <class T>
struct RmsNormBackward {
  const T* dy;
  const T* x;
  const T* weight;
  const float* rstd;
  const T* residual_gradient;  // added to dx before its rounding; may be null
  T* dx;                       // may be dy
  T* y;                        // the forward's output again, bit for bit; may be null
  float* partials;             // workspace: [rms_norm_backward_blocks<T>(rows, cols), cols]
  float* dweight;              // [cols]
  bool accumulate;             // dweight += instead of =
  int64_t rows;                // at least 1
  int64_t cols;
};

// With x̂ = x · rstd, g = dy · weight, c = mean(g · x̂) over the row:
// dx = rstd · (g − x̂ · c) + residual_gradient;  dweight = Σ over rows of dy · x̂.
template <class T>
void rms_norm_backward(const RmsNormBackward<T>& params, cudaStream_t stream);

// Blocks of the backward, each of which writes one row of partials; depends on the current device.
template <class T>
int64_t rms_norm_backward_blocks(int64_t rows, int64_t cols);

}  // namespace titan::kernels
