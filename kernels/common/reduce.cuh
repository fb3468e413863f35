// Sums and maxima over a warp or a block, in an order fixed by the thread index: the same inputs
// always give the same bits. Every thread of the warp or block takes part and gets the result.
#pragma once

namespace titan::kernels {

inline constexpr int kWarpSize = 32;
// What block_sum and block_max need in shared memory: a float for each warp of the largest block.
inline constexpr int kReduceScratch = 32;

struct Sum {
  static constexpr float kIdentity = 0.0f;
  __device__ static float combine(float a, float b) { return a + b; }
};

struct Max {
  static constexpr float kIdentity = -__builtin_huge_valf();
  __device__ static float combine(float a, float b) { return fmaxf(a, b); }
};

template <class Operation>
__device__ float warp_reduce(float value) {
#pragma unroll
  for (int distance = kWarpSize / 2; distance > 0; distance /= 2) {
    value = Operation::combine(value, __shfl_xor_sync(0xffffffffu, value, distance));
  }
  return value;
}

// The block's size is a multiple of 32. One barrier: before `scratch` (kReduceScratch floats of
// shared memory) is used again, the block must pass another barrier, or take turns between two.
template <class Operation>
__device__ float block_reduce(float value, float* scratch) {
  const int thread = threadIdx.x + blockDim.x * threadIdx.y;
  const int warps = static_cast<int>(blockDim.x * blockDim.y) / kWarpSize;
  const int lane = thread % kWarpSize;
  value = warp_reduce<Operation>(value);
  if (warps == 1) return value;
  if (lane == 0) scratch[thread / kWarpSize] = value;
  __syncthreads();
  return warp_reduce<Operation>(lane < warps ? scratch[lane] : Operation::kIdentity);
}

__device__ inline float warp_sum(float value) { return warp_reduce<Sum>(value); }
__device__ inline float warp_max(float value) { return warp_reduce<Max>(value); }
__device__ inline float block_sum(float value, float* scratch) {
  return block_reduce<Sum>(value, scratch);
}
__device__ inline float block_max(float value, float* scratch) {
  return block_reduce<Max>(value, scratch);
}

}  // namespace titan::kernels
