// Softmax cross-entropy over rows of logits, and its gradient written over them.
//   losses[r] = log(sum_j exp(logits[r, j])) - logits[r, label]
//   logits[r, j] <- (softmax[r, j] - (j == label)) * inverse_valid_tokens
// Label -100: loss 0, gradient 0. Any other label outside [0, vocabulary) reads nothing and gives a
// NaN loss. Arithmetic in fp32, no atomics: the same inputs give the same bits. Enqueues on
// `stream`; no allocation, no wait. T: float or __nv_bfloat16. Throws Error when a row is larger
// than the shared memory of a cluster (900,000 bf16 logits) or a launch fails.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/loss/ignored_label.hpp"

namespace titan::kernels {

template <class T>
struct CrossEntropy {
  T* logits = nullptr;                          // [rows, vocabulary], contiguous
  const int32_t* labels = nullptr;              // [rows]
  const float* inverse_valid_tokens = nullptr;  // device scalar; nullptr: losses only
  float* losses = nullptr;                      // [rows]
  int64_t rows = 0;
  int64_t vocabulary = 0;
};

template <class T>
void cross_entropy(const CrossEntropy<T>& params, cudaStream_t stream);

}  // namespace titan::kernels
