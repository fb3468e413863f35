// Two parts of 1024 x 1024 into bf16: 8 MB read, from the L2 cache where the product has left them,
// and 2 MB written.
#include "kernels/common/launch.cuh"
#include "kernels/common/quad.cuh"
#include "kernels/quantize/sum_parts.hpp"

namespace titan::kernels {
namespace {

constexpr int kThreads = 256;

// A thread makes four values of a row.
template <class T>
__global__ void __launch_bounds__(kThreads) sum_parts_kernel(const SumParts<T> p) {
  wait_for_kernels_before();
  const int64_t index = (int64_t{blockIdx.x} * kThreads + threadIdx.x) * kQuad;
  const int64_t size = p.rows * p.cols;
  if (index >= size) return;
  const int64_t row = index / p.cols, column = index % p.cols;
  float sum[kQuad], part[kQuad], scales[kQuad], addend[kQuad];
  load_quad(p.parts + index, sum);
#pragma unroll 4
  for (int64_t i = 1; i < p.count; ++i) {
    load_quad(p.parts + i * size + index, part);
#pragma unroll
    for (int k = 0; k < kQuad; ++k) sum[k] += part[k];
  }
  load_quad(p.column_scales + column, scales);
  const float row_scale = p.row_scales[row];
#pragma unroll
  for (int k = 0; k < kQuad; ++k) sum[k] = sum[k] * row_scale * scales[k];
  if (p.addend) {
    load_quad(p.addend + row * p.addend_stride + column, addend);
#pragma unroll
    for (int k = 0; k < kQuad; ++k) sum[k] += addend[k];
  }
  store_quad(p.out + row * p.out_stride + column, sum);
}

}  // namespace

template <class T>
void sum_parts(const SumParts<T>& params, cudaStream_t stream) {
  constexpr int64_t kValues = int64_t{kThreads} * kQuad;  // of a block
  const int64_t blocks = (params.rows * params.cols + kValues - 1) / kValues;
  launch_early("sum_parts", sum_parts_kernel<T>, blocks, kThreads, 0, stream, params);
}

template void sum_parts(const SumParts<float>&, cudaStream_t);
template void sum_parts(const SumParts<__nv_bfloat16>&, cudaStream_t);

}  // namespace titan::kernels
