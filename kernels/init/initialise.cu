// Initial values; once per run, bound by the fp64 arithmetic of the quantile function (about 60
// operations a value: 8 G values take some 50 ms).
#include "kernels/common/cuda_check.hpp"
#include "kernels/common/vector.cuh"
#include "kernels/init/initialise.hpp"

namespace titan::kernels {
namespace {

constexpr int kThreads = 256;

// A thread owns one Philox block: four elements, of which the first and last thread may need fewer.
template <class T>
__global__ void __launch_bounds__(kThreads) initialise_kernel(const Initialise<T> p) {
  const int64_t block =
      p.first_index / 4 + static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  const PhiloxBlock bits = initial_bits(p.seed, p.stream, block);
#pragma unroll
  for (int k = 0; k < 4; ++k) {
    const int64_t i = block * 4 + k - p.first_index;
    if (i < 0 || i >= p.count) continue;
    p.out[i] = from_float<T>(static_cast<float>(initial_value(p.distribution, bits.words[k])));
  }
}

}  // namespace

template <class T>
void initialise(const Initialise<T>& p, cudaStream_t stream) {
  if (p.count == 0) return;
  const int64_t philox_blocks = (p.first_index + p.count - 1) / 4 - p.first_index / 4 + 1;
  const auto blocks = static_cast<unsigned>((philox_blocks + kThreads - 1) / kThreads);
  initialise_kernel<T><<<blocks, kThreads, 0, stream>>>(p);
  check_launch("initialise");
}

template void initialise<float>(const Initialise<float>&, cudaStream_t);
template void initialise<__nv_bfloat16>(const Initialise<__nv_bfloat16>&, cudaStream_t);

}  // namespace titan::kernels
