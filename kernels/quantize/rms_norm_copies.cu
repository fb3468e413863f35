// RMSNorm into float8. Bytes for each bf16 value: forward 2 read, 1 written; the column copy again
// 2 and 1; backward 6 read (dy, x, the residual gradient), 3 written (dx and its copy). T 16384,
// D 4096 at 85 % of 4.26 TB/s: 56 us, 56 us and 167 us.
//
// The norm is taken in the order of kernels/norm/rms_norm.cu, so that the bits are the same. In
// backward rows flow as in quantize_rows.cu; forward, with a third of the bytes and the norm's
// weight to hold, is faster with registers as its only stage (H200, T 16384, D 4096: 64 us, 84 us
// through shared memory).
#include "kernels/norm/rms_norm_formula.cuh"
#include "kernels/norm/sum_partials.hpp"
#include "kernels/quantize/column_copy.cuh"
#include "kernels/quantize/rms_norm_copies.hpp"
#include "kernels/quantize/row_copy.cuh"
#include "kernels/quantize/row_pipeline.cuh"

namespace titan::kernels {
namespace {

constexpr int kMaxThreads = 512;
constexpr int kThreadsPerMultiprocessor = 512;  // 128 registers each

// The next row is loaded into registers while this one is normalised.
template <class T>
__global__ void __launch_bounds__(kMaxThreads, kThreadsPerMultiprocessor / kMaxThreads)
    rms_norm_rows_kernel(const RmsNormRows<T> p, const int64_t groups) {
  extern __shared__ __align__(128) unsigned char shared[];
  __shared__ RowScratch sum_scratch, max_scratch;
  wait_for_kernels_before();
  const int cols = static_cast<int>(p.cols);
  RowCopyWriter<T> copy(p.out, p.cols, p.cols);
  RowPart<T> weight, next;
  weight.load(p.weight, cols);
  int64_t row = row_group_index();
  if (row >= groups) row = p.rows;  // the blocks' last groups may be too many
  if (row < p.rows) next.load(computed_once(p.x + row * p.cols), cols);

  for (; row < p.rows; row += groups) {
    RowPart<T> y = next;
    if (row + groups < p.rows) next.load(computed_once(p.x + (row + groups) * p.cols), cols);
    float sum_of_squares = 0.0f;
#pragma unroll
    for (const Vector<T>& x : y.vectors) sum_of_squares = add_squares(sum_of_squares, x);
    const float rstd = reciprocal_rms(row_sum(sum_of_squares, sum_scratch), p.cols, p.eps);
    y.stay_packed();
#pragma unroll
    for (int k = 0; k < kVectorsPerThread; ++k) {
      y.vectors[k] = normalise(y.vectors[k], rstd, weight.vectors[k]);
    }
    if (threadIdx.x == 0) p.rstd[row] = rstd;
    copy.store(row, y, float8_scale(row_largest(copy.include(y), max_scratch)));
  }
  copy.finish(shared);
}

template <class T>
__global__ void __launch_bounds__(kMaxThreads, kThreadsPerMultiprocessor / kMaxThreads)
    rms_norm_backward_rows_kernel(const RmsNormBackwardRows<T> p, const RowStream<3> stream) {
  constexpr int kWidth = kVectorWidth<T>;
  extern __shared__ __align__(128) unsigned char shared[];
  __shared__ StageBarriers filled;
  __shared__ RowScratch sum_scratch, max_scratch;
  const RmsNormBackward<T>& norm = p.norm;
  const int cols = static_cast<int>(norm.cols);
  RowCopyWriter<T> copy(p.out, norm.cols, norm.cols);
  float dweight[kVectorsPerThread][kWidth] = {};

  RowPipeline<3> rows(stream, shared, filled);
  for (; rows.more(); rows.next()) {
    const float rstd = norm.rstd[rows.row()];
    const T* dy = reinterpret_cast<const T*>(rows.wait());
    const T* x = dy + cols;
    const T* residual = x + cols;
    float dot = 0.0f;
#pragma unroll
    for (int k = 0; k < kVectorsPerThread; ++k) {
      const int column = RowPart<T>::column(k);
      if (column < cols) {
        dot = add_dot(dot, load_vector(dy + column), load_vector(x + column),
                      load_vector(norm.weight + column));
      }
    }
    const float mean = row_sum(dot, sum_scratch) * rstd / static_cast<float>(norm.cols);

    RowPart<T> gradient;
#pragma unroll
    for (int k = 0; k < kVectorsPerThread; ++k) {
      const int column = RowPart<T>::column(k);
      gradient.vectors[k] = zero_vector<T>();
      if (column < cols) {
        const auto [dx, y] = rms_norm_gradient(
            load_vector(dy + column), load_vector(x + column), load_vector(norm.weight + column),
            load_vector(residual + column), rstd, mean, dweight[k]);
        store_vector(norm.dx + rows.row() * norm.cols + column, dx);
        if (norm.y) store_vector(norm.y + rows.row() * norm.cols + column, y);
        gradient.vectors[k] = dx;
      }
    }
    const Float8Scale scale = float8_scale(row_largest(copy.include(gradient), max_scratch));
    rows.refill();
    copy.store(rows.row(), gradient, scale);
  }
  copy.finish(shared);

  const int64_t group = row_group_index();
  if (group >= stream.groups) return;
  float* partial = norm.partials + group * norm.cols;
#pragma unroll
  for (int k = 0; k < kVectorsPerThread; ++k) {
    const int column = RowPart<T>::column(k);
    if (column >= cols) break;
#pragma unroll
    for (int i = 0; i < kWidth; i += 4) {
      *reinterpret_cast<float4*>(partial + column + i) =
          make_float4(dweight[k][i], dweight[k][i + 1], dweight[k][i + 2], dweight[k][i + 3]);
    }
  }
}

template <class T>
struct NormSource {
  const T* x;
  const T* weight;
  const float* rstd;
  int64_t cols;

  __device__ Vector<T> operator()(int64_t row, int64_t column) const {
    return normalise(load_vector(x + row * cols + column), rstd[row], load_vector(weight + column));
  }
};

}  // namespace

template <class T>
void rms_norm_rows(const RmsNormRows<T>& params, cudaStream_t stream) {
  const int threads = row_threads<T>(params.cols);
  const int groups_per_block = kThreadsPerMultiprocessor / threads;
  const int64_t groups =
      std::min<int64_t>(params.rows, int64_t{multiprocessor_count()} * groups_per_block);
  const int64_t blocks = (groups + groups_per_block - 1) / groups_per_block;
  const dim3 block(static_cast<unsigned>(threads), static_cast<unsigned>(groups_per_block));
  const auto shared_bytes = static_cast<size_t>(groups_per_block * params.cols) * sizeof(T);
  launch_early("rms_norm_rows", rms_norm_rows_kernel<T>, blocks, block, shared_bytes, stream,
               params, groups);
}

template <class T>
void rms_norm_columns(const RmsNormColumns<T>& params, cudaStream_t stream) {
  launch_column_copy<T>("rms_norm_columns",
                        NormSource<T>{params.x, params.weight, params.rstd, params.cols},
                        params.out, params.rows, params.cols, stream);
}

template <class T>
void rms_norm_backward_rows(const RmsNormBackwardRows<T>& params, cudaStream_t stream) {
  const RmsNormBackward<T>& norm = params.norm;
  const RowStream<3> rows{
      {row_source(norm.dy, norm.cols, norm.cols), row_source(norm.x, norm.cols, norm.cols),
       row_source(norm.residual_gradient, norm.cols, norm.cols)},
      norm.rows};
  const RowPlan plan = plan_rows(rows, row_threads<T>(norm.cols), kThreadsPerMultiprocessor);
  // A row of partials for each group, so that dweight is summed in rms_norm_backward's order.
  TITAN_CHECK(plan.groups == rms_norm_backward_blocks<T>(norm.rows, norm.cols),
              "rms_norm_backward_rows: rows of ", norm.cols, " leave room for too few groups");
  launch_rows(rms_norm_backward_rows_kernel<T>, "rms_norm_backward_rows", params, rows, plan,
              stream);
  sum_partials(norm.partials, plan.groups, norm.cols, norm.dweight, norm.accumulate, stream);
}

template void rms_norm_rows(const RmsNormRows<float>&, cudaStream_t);
template void rms_norm_rows(const RmsNormRows<__nv_bfloat16>&, cudaStream_t);
template void rms_norm_columns(const RmsNormColumns<float>&, cudaStream_t);
template void rms_norm_columns(const RmsNormColumns<__nv_bfloat16>&, cudaStream_t);
template void rms_norm_backward_rows(const RmsNormBackwardRows<float>&, cudaStream_t);
template void rms_norm_backward_rows(const RmsNormBackwardRows<__nv_bfloat16>&, cudaStream_t);

}  // namespace titan::kernels
