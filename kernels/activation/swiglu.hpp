// SwiGLU on the joined output of the gate and up projections. T is __nv_bfloat16 or float;
// arithmetic is in fp32 and each output is rounded once. Row-major, contiguous, 16-byte aligned;
// cols (F) is a multiple of 16 / sizeof(T). Enqueues on `stream`: no allocation, no wait. The same
// inputs give the same bits. Throws titan::Error when a launch fails.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace titan::kernels {

template <class T>
struct SwigluForward {
  const T* gate_up;  // [rows, 2 * cols]: gate | up
  T* h;              // [rows, cols]
  int64_t rows;
  int64_t cols;
};

// h = silu(gate) · up, with silu(g) = g · s and s = 1 / (1 + exp(-g)).
template <class T>
void swiglu_forward(const SwigluForward<T>& params, cudaStream_t stream);

template <class T>
struct SwigluBackward {
  T* gate_up;  // [rows, 2 * cols]: gate | up becomes dgate | dup
  T* dh;       // [rows, cols]: dh becomes h, bit for bit that of the forward
  int64_t rows;
  int64_t cols;
};

// dgate = dh · up · s · (1 + gate · (1 - s));  dup = dh · silu(gate).
template <class T>
void swiglu_backward(const SwigluBackward<T>& params, cudaStream_t stream);

}  // namespace titan::kernels
