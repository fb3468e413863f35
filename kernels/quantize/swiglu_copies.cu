// SwiGLU into float8. Bytes for each of the F bf16 values of a row: forward 4 read, 1 written; the
// column copy again 4 and 1; backward 6 read, 4 + 2 written (d_gate_up and its copy; 2 more for h).
// T 16384, F 14336 at 85 % of 4.26 TB/s: 324 us, 324 us and 778 us (908 us with h).
//
// Rows flow as in quantize_rows.cu. The backward's row group holds both gradients of a row and the
// column maxima of both in registers: 16 vectors a thread.
#include "kernels/activation/swiglu_formula.cuh"
#include "kernels/quantize/column_copy.cuh"
#include "kernels/quantize/row_copy.cuh"
#include "kernels/quantize/row_pipeline.cuh"
#include "kernels/quantize/swiglu_copies.hpp"

namespace titan::kernels {
namespace {

constexpr int kForwardMaxThreads = 1024;
constexpr int kForwardThreadsPerMultiprocessor = 1024;  // 64 registers each
constexpr int kBackwardMaxThreads = 512;
constexpr int kBackwardThreadsPerMultiprocessor = 512;  // 128 registers each

template <class T>
__global__ void __launch_bounds__(kForwardMaxThreads)
    swiglu_rows_kernel(const SwigluRows<T> p, const RowStream<1> stream) {
  extern __shared__ __align__(128) unsigned char shared[];
  __shared__ StageBarriers filled;
  __shared__ RowScratch scratch[2];
  const int cols = static_cast<int>(p.cols);
  RowCopyWriter<T> copy(p.out, p.cols, p.cols);

  int turn = 0;
  RowPipeline<1> rows(stream, shared, filled);
  for (; rows.more(); rows.next(), turn ^= 1) {
    const T* gate = reinterpret_cast<const T*>(rows.wait());
    const T* up = gate + cols;
    RowPart<T> h;
#pragma unroll
    for (int k = 0; k < kVectorsPerThread; ++k) {
      const int column = RowPart<T>::column(k);
      h.vectors[k] = column < cols ? swiglu(load_vector(gate + column), load_vector(up + column))
                                   : zero_vector<T>();
    }
    const Float8Scale scale = float8_scale(row_largest(copy.include(h), scratch[turn]));
    rows.refill();
    copy.store(rows.row(), h, scale);
  }
  copy.finish(shared);
}

// The part of a copy from column `cols` on.
__device__ RowCopyOutput right_half(const RowCopyOutput& out, int cols) {
  return {out.values + cols, out.inverse_scales,
          out.column_amax ? out.column_amax + cols : nullptr};
}

template <class T>
__global__ void __launch_bounds__(kBackwardMaxThreads)
    swiglu_backward_rows_kernel(const SwigluBackwardRows<T> p, const RowStream<2> stream) {
  extern __shared__ __align__(128) unsigned char shared[];
  __shared__ StageBarriers filled;
  __shared__ RowScratch scratch[2];
  const int cols = static_cast<int>(p.swiglu.cols);
  RowCopyWriter<T> gate_copy(p.out, cols, 2 * cols),
      up_copy(right_half(p.out, cols), cols, 2 * cols);

  int turn = 0;
  RowPipeline<2> rows(stream, shared, filled);
  for (; rows.more(); rows.next(), turn ^= 1) {
    const T* gate = reinterpret_cast<const T*>(rows.wait());
    const T* up = gate + cols;
    const T* dh = up + cols;
    T* gradient = p.swiglu.gate_up + rows.row() * 2 * p.swiglu.cols;
    RowPart<T> dgates, dups;
#pragma unroll
    for (int k = 0; k < kVectorsPerThread; ++k) {
      const int column = RowPart<T>::column(k);
      dgates.vectors[k] = dups.vectors[k] = zero_vector<T>();
      if (column < cols) {
        const auto [dgate, dup, h] = swiglu_gradient(
            load_vector(gate + column), load_vector(up + column), load_vector(dh + column));
        store_vector(gradient + column, dgate);
        store_vector(gradient + cols + column, dup);
        if (p.restore_h) store_vector(p.swiglu.dh + rows.row() * p.swiglu.cols + column, h);
        dgates.vectors[k] = dgate;
        dups.vectors[k] = dup;
      }
    }
    const uint32_t amax = max(gate_copy.include(dgates), up_copy.include(dups));
    const Float8Scale scale = float8_scale(row_largest(amax, scratch[turn]));
    rows.refill();
    gate_copy.store(rows.row(), dgates, scale);
    up_copy.store(rows.row(), dups, scale);
  }
  gate_copy.finish(shared);
  up_copy.finish(shared);
}

template <class T>
struct SwigluSource {
  const T* gate_up;
  int64_t cols;

  __device__ Vector<T> operator()(int64_t row, int64_t column) const {
    const T* gate = gate_up + row * 2 * cols + column;
    return swiglu(load_vector(gate), load_vector(gate + cols));
  }
};

void check_width(const char* name, int64_t cols, int64_t largest) {
  TITAN_CHECK(cols <= largest, name, ": at most ", largest, " columns of this dtype, got ", cols);
}

}  // namespace

template <class T>
void swiglu_rows(const SwigluRows<T>& params, cudaStream_t stream) {
  check_width("swiglu_rows", params.cols, kSwigluRowsMaxCols<T>);
  const RowStream<1> rows{{row_source(params.gate_up, 2 * params.cols, 2 * params.cols)},
                          params.rows};
  launch_rows(swiglu_rows_kernel<T>, "swiglu_rows", params, rows,
              plan_rows(rows, row_threads<T>(params.cols), kForwardThreadsPerMultiprocessor),
              stream);
}

template <class T>
void swiglu_columns(const SwigluColumns<T>& params, cudaStream_t stream) {
  launch_column_copy<T>("swiglu_columns", SwigluSource<T>{params.gate_up, params.cols}, params.out,
                        params.rows, params.cols, stream);
}

template <class T>
void swiglu_backward_rows(const SwigluBackwardRows<T>& params, cudaStream_t stream) {
  const SwigluBackward<T>& swiglu = params.swiglu;
  check_width("swiglu_backward_rows", swiglu.cols, kSwigluBackwardRowsMaxCols<T>);
  const T *gate_up = swiglu.gate_up, *dh = swiglu.dh;
  const RowStream<2> rows{{row_source(gate_up, 2 * swiglu.cols, 2 * swiglu.cols),
                           row_source(dh, swiglu.cols, swiglu.cols)},
                          swiglu.rows};
  launch_rows(swiglu_backward_rows_kernel<T>, "swiglu_backward_rows", params, rows,
              plan_rows(rows, row_threads<T>(swiglu.cols), kBackwardThreadsPerMultiprocessor),
              stream);
}

template void swiglu_rows(const SwigluRows<float>&, cudaStream_t);
template void swiglu_rows(const SwigluRows<__nv_bfloat16>&, cudaStream_t);
template void swiglu_columns(const SwigluColumns<float>&, cudaStream_t);
template void swiglu_columns(const SwigluColumns<__nv_bfloat16>&, cudaStream_t);
template void swiglu_backward_rows(const SwigluBackwardRows<float>&, cudaStream_t);
template void swiglu_backward_rows(const SwigluBackwardRows<__nv_bfloat16>&, cudaStream_t);

}  // namespace titan::kernels
