// Initial values; once per run, bound by the fp64 arithmetic of the quantile function (about 60
// operations a value: 8 G values take some 50 ms), so that a thread for each value, with a Philox
// block of its own, is fast enough.
#include "kernels/common/cuda_check.hpp"
#include "kernels/common/vector.cuh"
#include "kernels/init/initialise.hpp"

namespace titan::kernels {
namespace {

constexpr int kThreads = 256;

template <class T>
__global__ void __launch_bounds__(kThreads) initialise_kernel(const Initialise<T> p) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= p.count) return;
  const uint32_t bits = initial_bits(p.seed, p.stream, p.block.index(i));
  p.out[i] = from_float<T>(static_cast<float>(initial_value(p.distribution, bits)));
}

}  // namespace

template <class T>
void initialise(const Initialise<T>& p, cudaStream_t stream) {
  if (p.count == 0) return;
  const auto blocks = static_cast<unsigned>((p.count + kThreads - 1) / kThreads);
  initialise_kernel<T><<<blocks, kThreads, 0, stream>>>(p);
  check_launch("initialise");
}

template void initialise<float>(const Initialise<float>&, cudaStream_t);
template void initialise<__nv_bfloat16>(const Initialise<__nv_bfloat16>&, cudaStream_t);

}  // namespace titan::kernels
