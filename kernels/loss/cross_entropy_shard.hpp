// Softmax cross-entropy over rows of logits whose columns are cut among several holders, in two
// steps: the statistics of each one's columns, which the caller exchanges, and from all of them the
// losses and each one's gradient. Columns are classes: those here are `first`, first + 1, ...
//
// Statistics of a row, three floats: the largest logit (at least -FLT_MAX), the sum of
// exp(logit - largest), and the logit of the label's class where it is here, else 0. A label of
// another holder's columns is the common case. Label -100: loss 0, gradient 0, no logit counts. Any
// other label outside [0, vocabulary) gives a NaN loss.
//
// Arithmetic in fp32, no atomics: the same inputs give the same bits, so that all holders compute
// the same losses. Enqueues on `stream`; no allocation, no wait. T: float or __nv_bfloat16. Throws
// Error when a launch fails.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/loss/ignored_label.hpp"

namespace titan::kernels {

template <class T>
struct CrossEntropyStatistics {
  const T* logits = nullptr;        // [rows, columns], contiguous
  const int32_t* labels = nullptr;  // [rows]
  float* statistics = nullptr;      // [rows, 3]
  int64_t rows = 0;
  int64_t columns = 0;
  int64_t first = 0;
};

template <class T>
void cross_entropy_statistics(const CrossEntropyStatistics<T>& params, cudaStream_t stream);

struct CrossEntropyLosses {
  const float* statistics = nullptr;  // [shards, rows, 3]
  const int32_t* labels = nullptr;    // [rows]
  float* losses = nullptr;            // [rows]
  int64_t rows = 0;
  int64_t shards = 0;
  int64_t vocabulary = 0;  // classes of all shards
};

void cross_entropy_losses(const CrossEntropyLosses& params, cudaStream_t stream);

// The losses too, and over the logits (softmax - (class == label)) * inverse_valid_tokens.
template <class T>
struct CrossEntropyGradient {
  CrossEntropyLosses losses;
  T* logits = nullptr;                          // [rows, columns], contiguous
  const float* inverse_valid_tokens = nullptr;  // device scalar
  int64_t columns = 0;
  int64_t first = 0;
};

template <class T>
void cross_entropy_gradient(const CrossEntropyGradient<T>& params, cudaStream_t stream);

}  // namespace titan::kernels
