// Reads parameter, both moments and the gradient, writes parameter, moments and the bf16 copy:
// 28 bytes for each fp32 parameter with a bf16 gradient (26 without the copy), 20 (18) with moments
// in bf16. 28672 x 4096 values are 3.29 GB: 0.90 ms at 85 % of 4.30 TB/s; 2.35 GB, 0.64 ms.
//
// A thread owns quads of consecutive values: 16 contiguous bytes of each fp32 tensor and one Philox
// block each. Compiled without contraction of products and sums (kernels/CMakeLists.txt), as the
// CPU's code is, so that both give the same bits.
#include "kernels/common/cuda_check.hpp"
#include "kernels/common/quad.cuh"
#include "kernels/optim/adamw.hpp"

namespace titan::kernels {
namespace {

constexpr int kThreads = 256;
// With moments in bf16 two quads: each has fewer bytes in flight and more arithmetic.
template <bool kStochastic>
constexpr int kQuadsPerThread = kStochastic ? 2 : 1;
template <bool kStochastic>
constexpr int kBlocksPerProcessor = kStochastic ? 4 : 6;

// How a tensor's elements follow each other: a stretch of the whole parameter, or some columns.
enum class Layout { kConsecutive, kColumns };

// Element i of the tensor has its bits in bits[0], and so on.
template <int kWidth, Layout kLayout>
__device__ void load_bits(const MomentRounding& rounding, int64_t step, int64_t i,
                          uint32_t (&bits)[kWidth]) {
  const int64_t index =
      kLayout == Layout::kConsecutive ? rounding.block.first_index + i : rounding.block.index(i);
  const PhiloxBlock block = rounding_bits(rounding.key, step, index / kQuad);
  if constexpr (kWidth == kQuad) {  // index is a multiple of four
#pragma unroll
    for (int k = 0; k < kQuad; ++k) bits[k] = block.words[k];
  } else {
    static_assert(kWidth == 1);
    bits[0] = block.words[index % kQuad];
  }
}

__device__ void store_bits(__nv_bfloat16* address, const uint32_t (&bits)[kQuad]) {
  *reinterpret_cast<uint2*>(address) = make_uint2(bits[0] | bits[1] << 16, bits[2] | bits[3] << 16);
}
__device__ void store_bits(__nv_bfloat16* address, const uint32_t (&bits)[1]) {
  *reinterpret_cast<uint16_t*>(address) = static_cast<uint16_t>(bits[0]);
}

// kWidth consecutive values: loaded first, so that a thread's loads are in flight together.
template <int kWidth, class Master, class Gradient, bool kStochastic, Layout kLayout>
struct Values {
  using Tensors = AdamW<Master, Gradient, kStochastic>;
  float parameter[kWidth], gradient[kWidth], exp_avg[kWidth], exp_avg_sq[kWidth];

  __device__ void load(const Tensors& p, int64_t i) {
    load_quad(p.parameter + i, parameter);
    load_quad(p.gradient + i, gradient);
    load_quad(p.exp_avg + i, exp_avg);
    load_quad(p.exp_avg_sq + i, exp_avg_sq);
  }

  __device__ void update_and_store(const Tensors& p, const AdamWFactors<float>& factors,
                                   int64_t step, int64_t i) {
#pragma unroll
    for (int k = 0; k < kWidth; ++k) {
      factors.update(parameter[k], gradient[k], exp_avg[k], exp_avg_sq[k]);
    }
    store_quad(p.parameter + i, parameter);
    if constexpr (kStochastic) {
      uint32_t bits[kWidth], first[kWidth], second[kWidth];
      load_bits<kWidth, kLayout>(p.rounding, step, i, bits);
#pragma unroll
      for (int k = 0; k < kWidth; ++k) {
        first[k] = round_stochastically(exp_avg[k], exp_avg_bits(bits[k]));
        second[k] = round_stochastically(exp_avg_sq[k], exp_avg_sq_bits(bits[k]));
      }
      store_bits(p.exp_avg + i, first);
      store_bits(p.exp_avg_sq + i, second);
    } else {
      store_quad(p.exp_avg + i, exp_avg);
      store_quad(p.exp_avg_sq + i, exp_avg_sq);
    }
    store_rounded(p, i);
  }

  __device__ void store_rounded(const Tensors& p, int64_t i) const {
    if (p.compute) store_quad(p.compute + i, parameter);
  }
};

template <class Master, class Gradient, bool kStochastic, bool kAligned, Layout kLayout>
__global__ void __launch_bounds__(kThreads, kBlocksPerProcessor<kStochastic>)
    adamw_kernel(const AdamW<Master, Gradient, kStochastic> p, AdamWFactors<float> factors) {
  constexpr int kQuads = kQuadsPerThread<kStochastic>;
  constexpr int kStride = kThreads * kQuad;
  const int64_t first = static_cast<int64_t>(blockIdx.x) * kStride * kQuads;
  if (kAligned && first + kStride * kQuads <= p.count) {
    const int64_t i = first + threadIdx.x * kQuad;
    Values<kQuad, Master, Gradient, kStochastic, kLayout> values[kQuads];
    // Before the controls are read, so that the two latencies overlap.
#pragma unroll
    for (int q = 0; q < kQuads; ++q) values[q].load(p, i + q * kStride);
    if (p.controls->skip) {
#pragma unroll
      for (int q = 0; q < kQuads; ++q) values[q].store_rounded(p, i + q * kStride);
      return;
    }
    factors.at_step(*p.controls);
#pragma unroll
    for (int q = 0; q < kQuads; ++q) {
      values[q].update_and_store(p, factors, p.controls->step, i + q * kStride);
    }
  } else {
    factors.at_step(*p.controls);
    const int64_t end = min(first + kStride * kQuads, p.count);
#pragma unroll 1
    for (int64_t i = first + threadIdx.x; i < end; i += kThreads) {
      Values<1, Master, Gradient, kStochastic, kLayout> value;
      value.load(p, i);
      if (p.controls->skip) {
        value.store_rounded(p, i);
      } else {
        value.update_and_store(p, factors, p.controls->step, i);
      }
    }
  }
}

// Whether each quad of the tensor shares a Philox block.
bool shares_philox_blocks(const TensorBlock& block) {
  const bool whole_rows =
      block.consecutive() || (block.row_length % kQuad == 0 && block.row_stride % kQuad == 0);
  return block.first_index % kQuad == 0 && whole_rows;
}

template <Layout kLayout, class Master, class Gradient, bool kStochastic>
void launch(const AdamW<Master, Gradient, kStochastic>& p, cudaStream_t stream) {
  const int64_t values = int64_t{kThreads} * kQuad * kQuadsPerThread<kStochastic>;
  const auto blocks = static_cast<unsigned>((p.count + values - 1) / values);
  const bool aligned = quad_aligned(p.parameter) && quad_aligned(p.gradient) &&
                       quad_aligned(p.exp_avg) && quad_aligned(p.exp_avg_sq) &&
                       quad_aligned(p.compute) && shares_philox_blocks(p.rounding.block);
  const auto kernel = aligned ? adamw_kernel<Master, Gradient, kStochastic, true, kLayout>
                              : adamw_kernel<Master, Gradient, kStochastic, false, kLayout>;
  kernel<<<blocks, kThreads, 0, stream>>>(p, AdamWFactors<float>(p.settings));
  check_launch("adamw");
}

}  // namespace

template <class Master, class Gradient, bool kStochastic>
void adamw(const AdamW<Master, Gradient, kStochastic>& p, cudaStream_t stream) {
  if (p.count == 0) return;
  if constexpr (kStochastic) {
    if (!p.rounding.block.consecutive()) return launch<Layout::kColumns>(p, stream);
  }
  launch<Layout::kConsecutive>(p, stream);
}

using bf16 = __nv_bfloat16;
template void adamw(const AdamW<float, float, false>&, cudaStream_t);
template void adamw(const AdamW<float, bf16, false>&, cudaStream_t);
template void adamw(const AdamW<bf16, float, false>&, cudaStream_t);
template void adamw(const AdamW<bf16, bf16, false>&, cudaStream_t);
template void adamw(const AdamW<float, float, true>&, cudaStream_t);
template void adamw(const AdamW<float, bf16, true>&, cudaStream_t);
template void adamw(const AdamW<bf16, float, true>&, cudaStream_t);
template void adamw(const AdamW<bf16, bf16, true>&, cudaStream_t);

}  // namespace titan::kernels
