// Rotary position embedding of channel pairs (2i, 2i + 1). T is __nv_bfloat16 or float; arithmetic
// is in fp32 and each output is rounded once. Addresses and strides are multiples of 16 bytes;
// head_dim is a multiple of 16 / sizeof(T), at most 1024 times that. Enqueues on `stream`: no
// allocation, no wait. The same inputs give the same bits. Throws titan::Error when a launch fails.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace titan::kernels {

template <class T>
struct RopeForward {
  T* qkv;              // [rows, row_stride]; the first `heads` heads of each row are rotated
  const float* table;  // [seq_len, head_dim / 2, 2]: cos, sin
  int64_t rows;        // row r has position r % seq_len
  int64_t row_stride;
  unsigned seq_len;
  int heads;
  int head_dim;
};

template <class T>
void rope_forward(const RopeForward<T>& params, cudaStream_t stream);

// [batch, seq_len, heads, head_dim], channels contiguous; strides in elements.
template <class T>
struct HeadsView {
  const T* data;
  int64_t batch_stride;
  int64_t position_stride;
  int64_t head_stride;
};

template <class T>
struct RopeBackward {
  HeadsView<T> dq, dk, dv;
  T* dqkv;             // [batch * seq_len, (heads + 2 * kv_heads) * head_dim]: q | k | v
  const float* table;  // [seq_len, head_dim / 2, 2]
  unsigned batch;
  unsigned seq_len;
  int heads;
  int kv_heads;
  int head_dim;
};

// Packs the three gradients; dq and dk are rotated backwards.
template <class T>
void rope_backward(const RopeBackward<T>& params, cudaStream_t stream);

}  // namespace titan::kernels
