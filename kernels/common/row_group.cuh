// Row groups: the threads of a block that share a row, those with one threadIdx.y. One block stays
// on each multiprocessor with as many groups as its registers allow; the groups go their own ways,
// each with a barrier of its own, and meet at the end, so that what they have gathered over their
// rows leaves the multiprocessor once.
#pragma once

#include <cstdint>

#include "kernels/common/reduce.cuh"

namespace titan::kernels {

// The hardware has 16 barriers, of which __syncthreads() is one; a warp needs none.
inline constexpr int kMaxRowGroups = 32;
inline int max_row_groups(int threads) { return threads == kWarpSize ? kMaxRowGroups : 15; }

// Of all groups of the grid. Blocks take turns, so that where rows do not divide by groups, every
// multiprocessor gets its share of the groups with one row more.
__device__ inline int64_t row_group_index() {
  return int64_t{threadIdx.y} * gridDim.x + blockIdx.x;
}

// What row_sum and row_largest need in shared memory: a word for each warp of the largest block.
using RowScratch = uint32_t[kReduceScratch];

__device__ inline void sync_row_group() {
  if (blockDim.x == kWarpSize) {
    __syncwarp();
  } else {
    asm volatile("bar.sync %0, %1;" ::"r"(threadIdx.y + 1), "r"(blockDim.x) : "memory");
  }
}

// The sum over a group, for each of its threads, in block_sum's order. One barrier, always: the
// group's reads of shared memory before the call are over after it. Before `scratch` is used again,
// the group must pass another barrier.
__device__ inline float row_sum(float value, RowScratch& scratch) {
  const unsigned lane = threadIdx.x % kWarpSize, warps = blockDim.x / kWarpSize;
  uint32_t* sums = scratch + threadIdx.y * warps;
  value = warp_sum(value);
  if (warps == 1) {
    __syncwarp();
    return value;
  }
  if (lane == 0) sums[threadIdx.x / kWarpSize] = __float_as_uint(value);
  sync_row_group();
  return warp_sum(lane < warps ? __uint_as_float(sums[lane]) : 0.0f);
}

// The largest value of a group, likewise.
__device__ inline uint32_t row_largest(uint32_t value, RowScratch& scratch) {
  const unsigned lane = threadIdx.x % kWarpSize, warps = blockDim.x / kWarpSize;
  uint32_t* maxima = scratch + threadIdx.y * warps;
  value = __reduce_max_sync(0xffffffffu, value);
  if (warps == 1) {
    __syncwarp();
    return value;
  }
  if (lane == 0) maxima[threadIdx.x / kWarpSize] = value;
  sync_row_group();
  return __reduce_max_sync(0xffffffffu, lane < warps ? maxima[lane] : 0u);
}

}  // namespace titan::kernels
