// Rows of an embedding table by token, and the gradient of the table, which may be a stretch of
// rows of the whole vocabulary's. No atomics: the same inputs give the same bits. Enqueues on
// `stream`; no allocation, no wait. Tables and activations are row-major, contiguous. Throws Error
// when a launch fails.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace titan::kernels {

// out[t] = weight[tokens[t] - first], zero for tokens of other rows. A token outside [0,
// vocabulary) reads nothing and gives a row of NaN. T: float or __nv_bfloat16.
template <class T>
struct EmbeddingForward {
  const int32_t* tokens = nullptr;  // [count]
  const T* weight = nullptr;        // [rows, width]
  T* out = nullptr;                 // [count, width]
  int64_t count = 0;
  int64_t first = 0;  // the token of the first row
  int64_t rows = 0;
  int64_t vocabulary = 0;  // tokens of all stretches
  int64_t width = 0;
};

template <class T>
void embedding_forward(const EmbeddingForward<T>& params, cudaStream_t stream);

// dweight[r] = sum of dx[t] over the positions t of the row's token, in fp32, in the order of
// `positions`; zero for tokens that do not occur. With `accumulate` the sum is added and those rows
// are left alone. (Gradient, Weight): (bf16, float), (bf16, bf16), (float, float).
template <class Gradient, class Weight>
struct EmbeddingBackward {
  const Gradient* dx = nullptr;        // [count, width]
  const int64_t* positions = nullptr;  // [count]: 0..count-1 sorted by their token, stable
  const int32_t* starts = nullptr;     // [rows + 1]: where each row's positions begin, and end
  Weight* dweight = nullptr;           // [rows, width]
  int64_t rows = 0;
  int64_t width = 0;
  bool accumulate = false;
};

template <class Gradient, class Weight>
void embedding_backward(const EmbeddingBackward<Gradient, Weight>& params, cudaStream_t stream);

}  // namespace titan::kernels
