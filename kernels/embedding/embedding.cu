// Embedding rows forward, their gradient backward.
//
// Forward moves 4 bytes for each bf16 value: T 16384, D 4096 are 268 MB, 73 us at 85 % of 4.30
// TB/s. Backward writes the whole gradient once and reads dx once: V 128256, D 4096 in fp32 with T
// 16384 are 2.10 GB + 0.13 GB, 611 us at 85 %.
//
// Backward: blocks for every row of the table, whether its token occurs or not, so that rows are
// zeroed and summed in the same pass:
//
//   positions, sorted by token   [ 5 9 | 0 1 7 | 3 | ... ]
//   starts                         ^r=0  ^r=1    ^r=3 (r=2 does not occur: starts[2] == starts[3])
//   block r                      dweight[r] = dx[positions[starts[r]]] + ..., columns over threads
#include "kernels/common/cuda_check.hpp"
#include "kernels/common/quad.cuh"
#include "kernels/embedding/embedding.hpp"

namespace titan::kernels {
namespace {

constexpr int kForwardThreads = 128;
constexpr int kForwardVectors = 4;  // in flight per thread
constexpr int kBackwardThreads = 256;
constexpr int kBackwardRows = 8;  // in flight per thread: frequent tokens have thousands of rows
// Most rows are only zeroed: too few bytes for a block, and starting blocks becomes the limit.
constexpr int kBackwardQuads = 2;

// Rows are `row_length` Units: uint4 where they are aligned, else single values.
template <class T, class Unit>
__global__ void __launch_bounds__(kForwardThreads)
    embedding_forward_kernel(const EmbeddingForward<T> p, int64_t row_length) {
  const int64_t position = blockIdx.x;
  const int32_t token = p.tokens[position];
  const int64_t row = token - p.first;
  const bool here = row >= 0 && row < p.rows;
  const bool valid = token >= 0 && token < p.vocabulary;
  const Unit* source = reinterpret_cast<const Unit*>(p.weight) + (here ? row : 0) * row_length;
  Unit* target = reinterpret_cast<Unit*>(p.out) + position * row_length;
  Unit other;
  memset(&other, valid ? 0 : 0xff, sizeof(Unit));  // all bits set are a NaN in bf16 and fp32

  constexpr int kStride = kForwardThreads * kForwardVectors;
  for (int64_t start = threadIdx.x; start < row_length; start += kStride) {
    Unit units[kForwardVectors];
#pragma unroll
    for (int k = 0; k < kForwardVectors; ++k) {
      const int64_t i = start + k * kForwardThreads;
      units[k] = here && i < row_length ? source[i] : other;
    }
#pragma unroll
    for (int k = 0; k < kForwardVectors; ++k) {
      const int64_t i = start + k * kForwardThreads;
      if (i < row_length) target[i] = units[k];
    }
  }
}

template <int kWidth>
__device__ void add(float (&sum)[kWidth], const float (&values)[kWidth]) {
#pragma unroll
  for (int k = 0; k < kWidth; ++k) sum[k] += values[k];
}

// Adds `count` rows of dx at one column, in the order of `positions`.
template <class Gradient, int kWidth>
__device__ void add_rows(float (&sum)[kWidth], const Gradient* dx_column, int64_t width,
                         const int64_t* positions, int32_t count) {
  int32_t i = 0;
  for (; i + kBackwardRows <= count; i += kBackwardRows) {
    float rows[kBackwardRows][kWidth];
#pragma unroll
    for (int r = 0; r < kBackwardRows; ++r) {
      load_quad(dx_column + positions[i + r] * width, rows[r]);
    }
#pragma unroll
    for (int r = 0; r < kBackwardRows; ++r) add(sum, rows[r]);
  }
  for (; i < count; ++i) {
    float row[kWidth];
    load_quad(dx_column + positions[i] * width, row);
    add(sum, row);
  }
}

template <class Gradient, class Weight, int kWidth>
__global__ void __launch_bounds__(kBackwardThreads)
    embedding_backward_kernel(const EmbeddingBackward<Gradient, Weight> p) {
  const int64_t row = blockIdx.x;
  const int32_t begin = p.starts[row];
  const int32_t count = p.starts[row + 1] - begin;
  if (count == 0 && p.accumulate) return;

  const int64_t thread = static_cast<int64_t>(blockIdx.y) * kBackwardThreads + threadIdx.x;
  const int64_t stride = static_cast<int64_t>(gridDim.y) * kBackwardThreads * kWidth;
  for (int64_t column = thread * kWidth; column < p.width; column += stride) {
    Weight* dweight = p.dweight + row * p.width + column;
    float sum[kWidth] = {};
    add_rows(sum, p.dx + column, p.width, p.positions + begin, count);
    if (p.accumulate) {
      float before[kWidth];
      load_quad(dweight, before);
      add(sum, before);
    }
    store_quad(dweight, sum);
  }
}

template <class Gradient, class Weight, int kWidth>
void launch_backward(const EmbeddingBackward<Gradient, Weight>& p, cudaStream_t stream) {
  constexpr int64_t kColumns = int64_t{kBackwardThreads} * kBackwardQuads * kWidth;
  const dim3 grid(static_cast<unsigned>(p.rows),
                  static_cast<unsigned>((p.width + kColumns - 1) / kColumns));
  embedding_backward_kernel<Gradient, Weight, kWidth><<<grid, kBackwardThreads, 0, stream>>>(p);
  check_launch("embedding_backward");
}

bool vector_aligned(const void* address) {
  return reinterpret_cast<uintptr_t>(address) % sizeof(uint4) == 0;
}

}  // namespace

template <class T>
void embedding_forward(const EmbeddingForward<T>& p, cudaStream_t stream) {
  if (p.count == 0 || p.width == 0) return;
  const auto rows = static_cast<unsigned>(p.count);
  if (p.width % kVectorWidth<T> == 0 && vector_aligned(p.weight) && vector_aligned(p.out)) {
    embedding_forward_kernel<T, uint4>
        <<<rows, kForwardThreads, 0, stream>>>(p, p.width / kVectorWidth<T>);
  } else {
    embedding_forward_kernel<T, T><<<rows, kForwardThreads, 0, stream>>>(p, p.width);
  }
  check_launch("embedding_forward");
}

template <class Gradient, class Weight>
void embedding_backward(const EmbeddingBackward<Gradient, Weight>& p, cudaStream_t stream) {
  if (p.rows == 0 || p.width == 0) return;
  if (p.width % kQuad == 0 && quad_aligned(p.dx) && quad_aligned(p.dweight)) {
    launch_backward<Gradient, Weight, kQuad>(p, stream);
  } else {
    launch_backward<Gradient, Weight, 1>(p, stream);
  }
}

using bf16 = __nv_bfloat16;
template void embedding_forward<float>(const EmbeddingForward<float>&, cudaStream_t);
template void embedding_forward<bf16>(const EmbeddingForward<bf16>&, cudaStream_t);
template void embedding_backward<bf16, float>(const EmbeddingBackward<bf16, float>&, cudaStream_t);
template void embedding_backward<bf16, bf16>(const EmbeddingBackward<bf16, bf16>&, cudaStream_t);
template void embedding_backward<float, float>(const EmbeddingBackward<float, float>&,
                                               cudaStream_t);

}  // namespace titan::kernels
