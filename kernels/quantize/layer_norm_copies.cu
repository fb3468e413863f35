// LayerNorm into float8. Bytes for each bf16 value: forward 2 read, 2 written (y) and 1 (its copy)
// as asked; the column copy again 2 and 1; backward 4 read (dy, x), 2 written. T 16384, D 4096 at
// 85 % of 4.30 TB/s: 55 us for the row copy, 55 us, 110 us. Rows flow as in quantize_rows.cu.
#include "kernels/quantize/column_copy.cuh"
#include "kernels/quantize/layer_norm_copies.hpp"
#include "kernels/quantize/row_copy.cuh"
#include "kernels/quantize/row_pipeline.cuh"

namespace titan::kernels {
namespace {

constexpr int kMaxThreads = 1024;
static_assert(kLayerNormMaxCols<float> <= kMaxThreads * kVectorsPerThread * kVectorWidth<float>);
constexpr int kThreadsPerMultiprocessor = 1024;  // 64 registers each

// y of one value. Each rounding is written out: forward, column copy and backward get the same.
__device__ float normalise(float x, float mean, float rstd) {
  return __fmul_rn(__fsub_rn(x, mean), rstd);
}

template <class T>
__device__ Vector<T> normalise(const Vector<T>& x, float mean, float rstd) {
  float xs[kVectorWidth<T>];
  unpack(x, xs);
#pragma unroll
  for (float& value : xs) value = normalise(value, mean, rstd);
  return pack<T>(xs);
}

template <class T>
__device__ float add_values(float sum, const Vector<T>& x) {
  float xs[kVectorWidth<T>];
  unpack(x, xs);
#pragma unroll
  for (const float value : xs) sum += value;
  return sum;
}

template <class T>
__device__ float add_squared_differences(float sum, const Vector<T>& x, float mean) {
  float xs[kVectorWidth<T>];
  unpack(x, xs);
#pragma unroll
  for (const float value : xs) sum = fmaf(value - mean, value - mean, sum);
  return sum;
}

template <class T>
__global__ void __launch_bounds__(kMaxThreads, kThreadsPerMultiprocessor / kMaxThreads)
    layer_norm_rows_kernel(const LayerNormRows<T> p, const RowStream<1> stream) {
  extern __shared__ __align__(128) unsigned char shared[];
  __shared__ StageBarriers filled;
  __shared__ RowScratch sum_scratch, square_scratch, max_scratch;
  const int cols = static_cast<int>(p.cols);
  const float count = static_cast<float>(cols);
  RowCopyWriter<T> copy(p.out, p.cols, p.cols);

  RowPipeline<1> rows(stream, shared, filled);
  for (; rows.more(); rows.next()) {
    const T* x = reinterpret_cast<const T*>(rows.wait());
    float sum = 0.0f, squares = 0.0f;
#pragma unroll
    for (int k = 0; k < kVectorsPerThread; ++k) {
      const int column = RowPart<T>::column(k);
      if (column < cols) sum = add_values(sum, load_vector(x + column));
    }
    const float mean = row_sum(sum, sum_scratch) / count;
#pragma unroll
    for (int k = 0; k < kVectorsPerThread; ++k) {
      const int column = RowPart<T>::column(k);
      if (column < cols) squares = add_squared_differences(squares, load_vector(x + column), mean);
    }
    const float rstd = rsqrtf(row_sum(squares, square_scratch) / count + p.eps);

    RowPart<T> y;
#pragma unroll
    for (int k = 0; k < kVectorsPerThread; ++k) {
      const int column = RowPart<T>::column(k);
      y.vectors[k] = zero_vector<T>();
      if (column < cols) {
        y.vectors[k] = normalise(load_vector(x + column), mean, rstd);
        if (p.y) store_vector(p.y + rows.row() * p.cols + column, y.vectors[k]);
      }
    }
    if (threadIdx.x == 0) {
      p.mean[rows.row()] = mean;
      p.rstd[rows.row()] = rstd;
    }
    const uint32_t amax =
        row_largest(copy.include(y), max_scratch);  // also ends the reads of the row
    rows.refill();
    if (p.out.values) copy.store(rows.row(), y, float8_scale(amax));
  }
  copy.finish(shared);
}

template <class T>
__global__ void __launch_bounds__(kMaxThreads, kThreadsPerMultiprocessor / kMaxThreads)
    layer_norm_backward_kernel(const LayerNormBackward<T> p, const RowStream<2> stream) {
  constexpr int kWidth = kVectorWidth<T>;
  extern __shared__ __align__(128) unsigned char shared[];
  __shared__ StageBarriers filled;
  __shared__ RowScratch sum_scratch, dot_scratch;
  const int cols = static_cast<int>(p.cols);
  const float count = static_cast<float>(cols);

  RowPipeline<2> rows(stream, shared, filled);
  for (; rows.more(); rows.next()) {
    const float mean = p.mean[rows.row()], rstd = p.rstd[rows.row()];
    RowPart<T> dy, x;
    {
      const T* row = reinterpret_cast<const T*>(rows.wait());
      dy.load(row, cols);
      x.load(row + cols, cols);
    }
    float sum = 0.0f, dot = 0.0f;
#pragma unroll
    for (int k = 0; k < kVectorsPerThread; ++k) {
      float dys[kWidth], xs[kWidth];
      unpack(dy.vectors[k], dys);  // zeros past the end of the row
      unpack(x.vectors[k], xs);
#pragma unroll
      for (int i = 0; i < kWidth; ++i) {
        sum += dys[i];
        dot = fmaf(dys[i], normalise(xs[i], mean, rstd), dot);
      }
    }
    const float mean_dy = row_sum(sum, sum_scratch) / count;
    const float mean_dot = row_sum(dot, dot_scratch) / count;
    rows.refill();
    dy.stay_packed();
    x.stay_packed();
#pragma unroll
    for (int k = 0; k < kVectorsPerThread; ++k) {
      const int column = RowPart<T>::column(k);
      if (column >= cols) break;
      float dys[kWidth], xs[kWidth];
      unpack(dy.vectors[k], dys);
      unpack(x.vectors[k], xs);
#pragma unroll
      for (int i = 0; i < kWidth; ++i) {
        dys[i] = rstd * (dys[i] - mean_dy - normalise(xs[i], mean, rstd) * mean_dot);
      }
      store_vector(p.dx + rows.row() * p.cols + column, pack<T>(dys));
    }
  }
}

template <class T>
struct LayerNormSource {
  const T* x;
  const float* mean;
  const float* rstd;
  int64_t cols;

  __device__ Vector<T> operator()(int64_t row, int64_t column) const {
    return normalise(load_vector(x + row * cols + column), mean[row], rstd[row]);
  }
};

}  // namespace

template <class T>
void layer_norm_rows(const LayerNormRows<T>& params, cudaStream_t stream) {
  const RowStream<1> rows{{row_source(params.x, params.cols, params.cols)}, params.rows};
  launch_rows(layer_norm_rows_kernel<T>, "layer_norm_rows", params, rows,
              plan_rows(rows, row_threads<T>(params.cols), kThreadsPerMultiprocessor), stream);
}

template <class T>
void layer_norm_columns(const LayerNormColumns<T>& params, cudaStream_t stream) {
  launch_column_copy<T>("layer_norm_columns",
                        LayerNormSource<T>{params.x, params.mean, params.rstd, params.cols},
                        params.out, params.rows, params.cols, stream);
}

template <class T>
void layer_norm_backward(const LayerNormBackward<T>& params, cudaStream_t stream) {
  const RowStream<2> rows{{row_source(params.dy, params.cols, params.cols),
                           row_source(params.x, params.cols, params.cols)},
                          params.rows};
  launch_rows(layer_norm_backward_kernel<T>, "layer_norm_backward", params, rows,
              plan_rows(rows, row_threads<T>(params.cols), kThreadsPerMultiprocessor), stream);
}

template void layer_norm_rows(const LayerNormRows<float>&, cudaStream_t);
template void layer_norm_rows(const LayerNormRows<__nv_bfloat16>&, cudaStream_t);
template void layer_norm_columns(const LayerNormColumns<float>&, cudaStream_t);
template void layer_norm_columns(const LayerNormColumns<__nv_bfloat16>&, cudaStream_t);
template void layer_norm_backward(const LayerNormBackward<float>&, cudaStream_t);
template void layer_norm_backward(const LayerNormBackward<__nv_bfloat16>&, cudaStream_t);

}  // namespace titan::kernels
