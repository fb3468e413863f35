// Row copies. Bytes for each bf16 value: 2 read, 1 written. 16384 rows of 4096: 201 MB, 47 us at
// 4.26 TB/s, 56 us at the 85 % to reach.
//
//   device memory -> stages in shared memory -> registers -> amax of the row -> e4m3
//                    (copy engine, ahead)           `-> largest so far of each column, in registers
//                                                        until the group has seen its last row
#include "kernels/quantize/row_copy.cuh"
#include "kernels/quantize/row_pipeline.cuh"

namespace titan::kernels {
namespace {

constexpr int kMaxThreads = 1024;
constexpr int kThreadsPerMultiprocessor = 1024;  // 64 registers each

template <class T>
__global__ void __launch_bounds__(kMaxThreads, kThreadsPerMultiprocessor / kMaxThreads)
    quantize_rows_kernel(const QuantizeRows<T> p, const RowStream<1> stream) {
  extern __shared__ __align__(128) unsigned char shared[];
  __shared__ StageBarriers filled;
  __shared__ RowScratch scratch[2];
  RowCopyWriter<T> copy(p.out, p.cols, p.cols);

  int turn = 0;
  RowPipeline<1> rows(stream, shared, filled);
  for (; rows.more(); rows.next(), turn ^= 1) {
    RowPart<T> x;
    x.load(reinterpret_cast<const T*>(rows.wait()), static_cast<int>(p.cols));
    const Float8Scale scale = float8_scale(row_largest(copy.include(x), scratch[turn]));
    rows.refill();
    copy.store(rows.row(), x, scale);
  }
  copy.finish(shared);
}

// Rows that a block cannot hold: read twice, the second time from the L2 cache.
template <class T>
__global__ void __launch_bounds__(kMaxThreads) quantize_wide_rows_kernel(const QuantizeRows<T> p) {
  constexpr int kWidth = kVectorWidth<T>;
  __shared__ uint32_t scratch[kReduceScratch];
  const T* x = p.x + blockIdx.x * p.stride;
  uint8_t* values = p.out.values + blockIdx.x * p.cols;
  const int64_t first = int64_t{threadIdx.x} * kWidth, step = int64_t{kMaxThreads} * kWidth;
  Vector<T> maxima = zero_vector<T>();
#pragma unroll 4
  for (int64_t i = first; i < p.cols; i += step)
    include_magnitudes(maxima, magnitudes(load_vector(x + i)));
  const Float8Scale scale = float8_scale(block_largest(largest(maxima), scratch));
  if (threadIdx.x == 0) p.out.inverse_scales[blockIdx.x] = scale.inverse;
#pragma unroll 4
  for (int64_t i = first; i < p.cols; i += step) {
    store_float8(values + i, load_vector(x + i), scale.scale);
  }
}

}  // namespace

template <class T>
void quantize_rows(const QuantizeRows<T>& params, cudaStream_t stream) {
  const int threads = row_threads<T>(params.cols);
  if (threads > kMaxThreads) {
    quantize_wide_rows_kernel<T>
        <<<static_cast<unsigned>(params.rows), kMaxThreads, 0, stream>>>(params);
    check_launch("quantize_rows: wide rows");
    if (params.out.column_amax) {
      column_amax<T>({params.x, params.stride, params.out.column_amax, params.rows, params.cols},
                     stream);
    }
    return;
  }
  const RowStream<1> rows{
      {row_source(params.x, params.stride, params.cols)}, params.rows, /*read_again=*/true};
  launch_rows(quantize_rows_kernel<T>, "quantize_rows", params, rows,
              plan_rows(rows, threads, kThreadsPerMultiprocessor), stream);
}

template void quantize_rows(const QuantizeRows<float>&, cudaStream_t);
template void quantize_rows(const QuantizeRows<__nv_bfloat16>&, cudaStream_t);

}  // namespace titan::kernels
