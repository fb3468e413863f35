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
#include "kernels/common/row_part.cuh"
#include "kernels/norm/rms_norm.hpp"
#include "kernels/norm/rms_norm_formula.cuh"
#include "kernels/norm/sum_partials.hpp"

namespace titan::kernels {
namespace {

constexpr int kMaxThreads = 512;
static_assert(kRmsNormMaxCols<float> == kMaxThreads * kVectorsPerThread * kVectorWidth<float>);
// The backward's 128 registers a thread leave room for this many threads on a multiprocessor.
constexpr int kBackwardThreadsPerMultiprocessor = 512;

template <class T>
__global__ void __launch_bounds__(kMaxThreads, 2)
    rms_norm_forward_kernel(const RmsNormForward<T> p) {
  __shared__ float scratch[kReduceScratch];
  const int64_t row = blockIdx.x;
  RowPart<T> x, weight;
  x.load(p.x + row * p.cols, p.cols);
  weight.load(p.weight, p.cols);

  float sum_of_squares = 0.0f;
#pragma unroll
  for (const Vector<T>& vector : x.vectors) sum_of_squares = add_squares(sum_of_squares, vector);
  sum_of_squares = block_sum(sum_of_squares, scratch);
  x.stay_packed();
  const float rstd = reciprocal_rms(sum_of_squares, p.cols, p.eps);
  if (threadIdx.x == 0) p.rstd[row] = rstd;

#pragma unroll
  for (int k = 0; k < kVectorsPerThread; ++k) {
    const int column = RowPart<T>::column(k);
    if (column >= p.cols) break;
    store_vector(p.y + row * p.cols + column, normalise(x.vectors[k], rstd, weight.vectors[k]));
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
      dot = add_dot(dot, dy.vectors[k], x.vectors[k], weight.vectors[k]);
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
      const Vector<T> added = p.residual_gradient ? residual.vectors[k] : zero_vector<T>();
      const auto [dx, y] = rms_norm_gradient(dy.vectors[k], x.vectors[k], weight.vectors[k], added,
                                             rstd, mean, dweight[k]);
      store_vector(p.dx + start + column, dx);
      if (p.y) store_vector(p.y + start + column, y);
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

void sum_partials(const float* partials, int64_t count, int64_t cols, float* out, bool accumulate,
                  cudaStream_t stream) {
  const auto blocks = static_cast<unsigned>((cols + kWarpSize - 1) / kWarpSize);
  sum_partials_kernel<<<blocks, dim3(kWarpSize, kWarpSize), 0, stream>>>(partials, count, cols, out,
                                                                         accumulate);
  check_launch("sum_partials");
}

template <class T>
void rms_norm_forward(const RmsNormForward<T>& params, cudaStream_t stream) {
  if (params.rows == 0) return;
  rms_norm_forward_kernel<T>
      <<<static_cast<unsigned>(params.rows), row_threads<T>(params.cols), 0, stream>>>(params);
  check_launch("rms_norm_forward");
}

template <class T>
int64_t rms_norm_backward_blocks(int64_t rows, int64_t cols) {
  const int per_multiprocessor = kBackwardThreadsPerMultiprocessor / row_threads<T>(cols);
  return std::min<int64_t>(rows, int64_t{multiprocessor_count()} * per_multiprocessor);
}

template <class T>
void rms_norm_backward(const RmsNormBackward<T>& params, cudaStream_t stream) {
  const int64_t blocks = rms_norm_backward_blocks<T>(params.rows, params.cols);
  rms_norm_backward_kernel<T>
      <<<static_cast<unsigned>(blocks), row_threads<T>(params.cols), 0, stream>>>(params);
  check_launch("rms_norm_backward");
  sum_partials(params.partials, blocks, params.cols, params.dweight, params.accumulate, stream);
}

template int64_t rms_norm_backward_blocks<float>(int64_t, int64_t);
template int64_t rms_norm_backward_blocks<__nv_bfloat16>(int64_t, int64_t);
template void rms_norm_forward(const RmsNormForward<float>&, cudaStream_t);
template void rms_norm_forward(const RmsNormForward<__nv_bfloat16>&, cudaStream_t);
template void rms_norm_backward(const RmsNormBackward<float>&, cudaStream_t);
template void rms_norm_backward(const RmsNormBackward<__nv_bfloat16>&, cudaStream_t);

}  // namespace titan::kernels
