// Reads parameter, both moments and the gradient, writes parameter, moments and the bf16 copy:
// 28 bytes for each fp32 parameter with a bf16 gradient (26 without the copy). 28672 x 4096 values
// are 3.29 GB: 0.90 ms at 85 % of 4.30 TB/s.
//
// A thread owns four consecutive values: 16 contiguous bytes of each fp32 tensor.
#include "kernels/common/cuda_check.hpp"
#include "kernels/common/quad.cuh"
#include "kernels/optim/adamw.hpp"

namespace titan::kernels {
namespace {

constexpr int kThreads = 256;

template <int kWidth, class Master, class Gradient>
__device__ void update(const AdamW<Master, Gradient>& p, const AdamWFactors<float>& factors,
                       int64_t i) {
  float parameter[kWidth], gradient[kWidth], exp_avg[kWidth], exp_avg_sq[kWidth];
  load_quad(p.parameter + i, parameter);
  load_quad(p.gradient + i, gradient);
  load_quad(p.exp_avg + i, exp_avg);
  load_quad(p.exp_avg_sq + i, exp_avg_sq);
#pragma unroll
  for (int k = 0; k < kWidth; ++k) {
    factors.update(parameter[k], gradient[k], exp_avg[k], exp_avg_sq[k]);
  }
  store_quad(p.parameter + i, parameter);
  store_quad(p.exp_avg + i, exp_avg);
  store_quad(p.exp_avg_sq + i, exp_avg_sq);
  if (p.compute) store_quad(p.compute + i, parameter);
}

template <class Master, class Gradient, bool kAligned>
__global__ void __launch_bounds__(kThreads) adamw_kernel(const AdamW<Master, Gradient> p) {
  const StepControls controls = *p.controls;
  if (controls.skip) return;
  const AdamWFactors<float> factors(p.settings, controls.clip_factor, controls.inverse_correction1,
                                    controls.inverse_root_correction2);
  int64_t i = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) * kQuad;
  if (kAligned && i + kQuad <= p.count) {
    update<kQuad>(p, factors, i);
  } else {
    const int64_t end = min(i + kQuad, p.count);
    for (; i < end; ++i) update<1>(p, factors, i);
  }
}

}  // namespace

template <class Master, class Gradient>
void adamw(const AdamW<Master, Gradient>& p, cudaStream_t stream) {
  if (p.count == 0) return;
  const int64_t values = int64_t{kThreads} * kQuad;
  const auto blocks = static_cast<unsigned>((p.count + values - 1) / values);
  if (quad_aligned(p.parameter) && quad_aligned(p.gradient) && quad_aligned(p.exp_avg) &&
      quad_aligned(p.exp_avg_sq) && quad_aligned(p.compute)) {
    adamw_kernel<Master, Gradient, true><<<blocks, kThreads, 0, stream>>>(p);
  } else {
    adamw_kernel<Master, Gradient, false><<<blocks, kThreads, 0, stream>>>(p);
  }
  check_launch("adamw");
}

using bf16 = __nv_bfloat16;
template void adamw<float, float>(const AdamW<float, float>&, cudaStream_t);
template void adamw<float, bf16>(const AdamW<float, bf16>&, cudaStream_t);
template void adamw<bf16, float>(const AdamW<bf16, float>&, cudaStream_t);
template void adamw<bf16, bf16>(const AdamW<bf16, bf16>&, cudaStream_t);

}  // namespace titan::kernels
