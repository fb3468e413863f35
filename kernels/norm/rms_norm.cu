// RMSNorm. Bytes for each row of D bf16 values: forward reads x and writes y (4 D); backward reads
// dy, x and the residual gradient and writes dx (8 D), and y when asked (10 D). At T 16384, D 4096
// and 85 % of a 4.30 TB/s copy: forward 73 us, backward 147 us (184 us with y).
//
// A block holds a row in registers, 4 vectors of 16 bytes to a thread: 128 threads for D 4096.
//
//   forward                 backward: blocks stay and take every gridDim-th row
//   ┌─ row 0 ─┐ block 0     ┌─ row 0 ─┐ block 0 ─┐
//   ├─ row 1 ─┤ block 1     ├─ row 1 ─┤ block 1  │ dy · x̂ summed in registers over the block's
//   ├─  ...   ┤             ├─  ...   ┤          │ rows -> partials[block, D] -> second kernel:
//   └─ row T ─┘ block T     ├─ row G ─┤ block 0 ─┘ sum over blocks, in order -> dweight
#include <algorithm>

#include "kernels/common/cuda_check.hpp"
#include "kernels/common/reduce.cuh"
#include "kernels/common/vector.cuh"
#include "kernels/norm/rms_norm.hpp"

namespace titan::kernels {
namespace {

constexpr int kVectorsPerThread = 4;
constexpr int kMaxThreads = 512;
static_assert(kRmsNormMaxCols<float> == kMaxThreads * kVectorsPerThread * kVectorWidth<float>);
// The backward's 128 registers a thread leave room for this many threads on a multiprocessor.
constexpr int kBackwardThreadsPerMultiprocessor = 512;

template <class T>
int threads_for(int64_t cols) {
  constexpr int64_t kColsPerWarp = kWarpSize * kVectorsPerThread * kVectorWidth<T>;
  return static_cast<int>((cols + kColsPerWarp - 1) / kColsPerWarp) * kWarpSize;
}

// The part of a row that a thread holds: vectors threadIdx.x, threadIdx.x + blockDim.x, ...
template <class T>
struct RowPart {
  Vector<T> vectors[kVectorsPerThread];

  __device__ static int column(int k) {
    return static_cast<int>(threadIdx.x + k * blockDim.x) * kVectorWidth<T>;
  }

  // Zeros past the end of the row.
  __device__ void load(const T* row, int cols) {
#pragma unroll
    for (int k = 0; k < kVectorsPerThread; ++k) {
      vectors[k] = column(k) < cols ? load_vector(row + column(k)) : zero_vector<T>();
    }
  }

  __device__ void stay_packed() {
#pragma unroll
    for (int k = 0; k < kVectorsPerThread; ++k) kernels::stay_packed(vectors[k]);
  }
};

template <class T>
__global__ void __launch_bounds__(kMaxThreads, 2)
    rms_norm_forward_kernel(const RmsNormForward<T> p) {
  constexpr int kWidth = kVectorWidth<T>;
  __shared__ float scratch[kReduceScratch];
  const int64_t row = blockIdx.x;
  RowPart<T> x, weight;
  x.load(p.x + row * p.cols, p.cols);
  weight.load(p.weight, p.cols);

  float sum_of_squares = 0.0f;
#pragma unroll
  for (int k = 0; k < kVectorsPerThread; ++k) {
    float values[kWidth];
    unpack(x.vectors[k], values);
#pragma unroll
    for (int i = 0; i < kWidth; ++i) sum_of_squares += values[i] * values[i];
  }
  sum_of_squares = block_sum(sum_of_squares, scratch);
  x.stay_packed();
  const float rstd = rsqrtf(sum_of_squares / static_cast<float>(p.cols) + p.eps);
  if (threadIdx.x == 0) p.rstd[row] = rstd;

#pragma unroll
  for (int k = 0; k < kVectorsPerThread; ++k) {
    const int column = RowPart<T>::column(k);
    if (column >= p.cols) break;
    float values[kWidth], scale[kWidth];
    unpack(x.vectors[k], values);
    unpack(weight.vectors[k], scale);
#pragma unroll
    for (int i = 0; i < kWidth; ++i) values[i] = values[i] * rstd * scale[i];
    store_vector(p.y + row * p.cols + column, pack<T>(values));
  }
}

template <class T>
__global__ void __launch_bounds__(kMaxThreads, 1)
    rms_norm_backward_kernel(const RmsNormBackward<T> p) {
  constexpr int kWidth = kVectorWidth<T>;
  __shared__ float scratch[2][kReduceScratch];
  RowPart<T> weight;
  weight.load(p.weight, p.cols);
  float dweight[kVectorsPerThread][kWidth] = {};

  int turn = 0;
  for (int64_t row = blockIdx.x; row < p.rows; row += gridDim.x, turn ^= 1) {
    const int64_t start = row * p.cols;
    RowPart<T> dy, x, residual;
    dy.load(p.dy + start, p.cols);
    x.load(p.x + start, p.cols);
    if (p.residual_gradient) residual.load(p.residual_gradient + start, p.cols);
    const float rstd = p.rstd[row];

    float dot = 0.0f;
#pragma unroll
    for (int k = 0; k < kVectorsPerThread; ++k) {
      float dys[kWidth], xs[kWidth], ws[kWidth];
      unpack(dy.vectors[k], dys);
      unpack(x.vectors[k], xs);
      unpack(weight.vectors[k], ws);
#pragma unroll
      for (int i = 0; i < kWidth; ++i) dot += dys[i] * ws[i] * xs[i];
    }
    // mean(g · x̂)
    const float mean = block_sum(dot, scratch[turn]) * rstd / static_cast<float>(p.cols);
    dy.stay_packed();
    x.stay_packed();
    weight.stay_packed();

#pragma unroll
    for (int k = 0; k < kVectorsPerThread; ++k) {
      const int column = RowPart<T>::column(k);
      if (column >= p.cols) break;
      float dys[kWidth], xs[kWidth], ws[kWidth], rs[kWidth] = {}, dx[kWidth], y[kWidth];
      unpack(dy.vectors[k], dys);
      unpack(x.vectors[k], xs);
      unpack(weight.vectors[k], ws);
      if (p.residual_gradient) unpack(residual.vectors[k], rs);
#pragma unroll
      for (int i = 0; i < kWidth; ++i) {
        const float normalised = xs[i] * rstd;
        dx[i] = rstd * (dys[i] * ws[i] - normalised * mean) + rs[i];
        dweight[k][i] += dys[i] * normalised;
        y[i] = normalised * ws[i];
      }
      store_vector(p.dx + start + column, pack<T>(dx));
      if (p.y) store_vector(p.y + start + column, pack<T>(y));
    }
  }

  float* partial = p.partials + blockIdx.x * p.cols;
#pragma unroll
  for (int k = 0; k < kVectorsPerThread; ++k) {
    const int column = RowPart<T>::column(k);
    if (column >= p.cols) break;
#pragma unroll
    for (int i = 0; i < kWidth; i += 4) {
      const float4 sums =
          make_float4(dweight[k][i], dweight[k][i + 1], dweight[k][i + 2], dweight[k][i + 3]);
      *reinterpret_cast<float4*>(partial + column + i) = sums;
    }
  }
}

// 32 columns a block; warp w sums partials w, w + 32, ..., then the 32 sums of a column are added
// by one warp.
__global__ void __launch_bounds__(1024)
    sum_partials_kernel(const float* partials, int64_t count, int64_t cols, float* out,
                        bool accumulate) {
  __shared__ float tile[kWarpSize][kWarpSize + 1];
  const int64_t first_column = static_cast<int64_t>(blockIdx.x) * kWarpSize;
  const int64_t column = first_column + threadIdx.x;
  float sum = 0.0f;
  if (column < cols) {
#pragma unroll 8
    for (int64_t i = threadIdx.y; i < count; i += kWarpSize) sum += partials[i * cols + column];
  }
  tile[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  const float total = warp_sum(tile[threadIdx.x][threadIdx.y]);
  const int64_t out_column = first_column + threadIdx.y;
  if (threadIdx.x == 0 && out_column < cols) {
    out[out_column] = accumulate ? out[out_column] + total : total;
  }
}

}  // namespace

template <class T>
void rms_norm_forward(const RmsNormForward<T>& params, cudaStream_t stream) {
  if (params.rows == 0) return;
  rms_norm_forward_kernel<T>
      <<<static_cast<unsigned>(params.rows), threads_for<T>(params.cols), 0, stream>>>(params);
  check_launch("rms_norm_forward");
}

template <class T>
int64_t rms_norm_backward_blocks(int64_t rows, int64_t cols) {
  const int per_multiprocessor = kBackwardThreadsPerMultiprocessor / threads_for<T>(cols);
  return std::min<int64_t>(rows, int64_t{multiprocessor_count()} * per_multiprocessor);
}

template <class T>
void rms_norm_backward(const RmsNormBackward<T>& params, cudaStream_t stream) {
  const int64_t blocks = rms_norm_backward_blocks<T>(params.rows, params.cols);
  rms_norm_backward_kernel<T>
      <<<static_cast<unsigned>(blocks), threads_for<T>(params.cols), 0, stream>>>(params);
  check_launch("rms_norm_backward");
  const auto column_blocks = static_cast<unsigned>((params.cols + kWarpSize - 1) / kWarpSize);
  sum_partials_kernel<<<column_blocks, dim3(kWarpSize, kWarpSize), 0, stream>>>(
      params.partials, blocks, params.cols, params.dweight, params.accumulate);
  check_launch("rms_norm_backward: sum of partials");
}

template int64_t rms_norm_backward_blocks<float>(int64_t, int64_t);
template int64_t rms_norm_backward_blocks<__nv_bfloat16>(int64_t, int64_t);
template void rms_norm_forward(const RmsNormForward<float>&, cudaStream_t);
template void rms_norm_forward(const RmsNormForward<__nv_bfloat16>&, cudaStream_t);
template void rms_norm_backward(const RmsNormBackward<float>&, cudaStream_t);
template void rms_norm_backward(const RmsNormBackward<__nv_bfloat16>&, cudaStream_t);

}  // namespace titan::kernels
