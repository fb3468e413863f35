// Bound by memory: of n parts in bf16 a value takes 2 n bytes read and 4 written. A thread sums
// eight values at a time, 16 bytes of each part in bf16; where a part or the sum does not start at
// a multiple of 16 bytes, and at the end, value by value.
#include <algorithm>

#include "kernels/common/cuda_check.hpp"
#include "kernels/common/vector.cuh"
#include "kernels/reduce/sum_of_ranks.hpp"

namespace titan::kernels {
namespace {

constexpr int kThreads = 256;
constexpr int kValues = 8;  // of a thread at a time
constexpr int kValuesPerBlock = kThreads * kValues * 2;

struct Launch {
  SumOfRanks sums[kMaxSums];
  bool aligned[kMaxSums];
  int64_t end_block[kMaxSums];  // each sum has blocks of its own, one after another
};

template <class T>
__device__ void load_values(const T* values, float* loaded) {
  constexpr int kWidth = kVectorWidth<T>;
#pragma unroll
  for (int i = 0; i < kValues; i += kWidth) {
    float vector[kWidth];
    unpack(load_vector(values + i), vector);
#pragma unroll
    for (int k = 0; k < kWidth; ++k) loaded[i + k] = vector[k];
  }
}

template <class T, int kParts>
__device__ void sum_values(const SumOfRanks& p, int64_t i) {
  float values[kParts][kValues], sum[kValues] = {};
#pragma unroll
  for (int part = 0; part < kParts; ++part) {
    load_values(static_cast<const T*>(p.parts[part]) + i, values[part]);
  }
  if (p.accumulate) load_values(p.sum + i, sum);
#pragma unroll
  for (int k = 0; k < kValues; ++k) {
    if (!p.accumulate) {
      sum[k] = values[0][k];
    } else {
      sum[k] += values[0][k];
    }
#pragma unroll
    for (int part = 1; part < kParts; ++part) sum[k] += values[part][k];
  }
#pragma unroll
  for (int k = 0; k < kValues; k += kVectorWidth<float>) {
    const float vector[] = {sum[k], sum[k + 1], sum[k + 2], sum[k + 3]};
    store_vector(p.sum + i + k, pack<float>(vector));
  }
}

template <class T, int kParts>
__device__ void sum_value(const SumOfRanks& p, int64_t i) {
  float sum = to_float(static_cast<const T*>(p.parts[0])[i]);
  if (p.accumulate) sum += p.sum[i];
#pragma unroll
  for (int part = 1; part < kParts; ++part) {
    sum += to_float(static_cast<const T*>(p.parts[part])[i]);
  }
  p.sum[i] = sum;
}

template <class T, int kParts>
__device__ void sum_block(const SumOfRanks& p, bool aligned, int64_t block) {
  const int64_t end = min((block + 1) * kValuesPerBlock, p.count);
  int64_t i = block * kValuesPerBlock + threadIdx.x * kValues;
  if (aligned) {
    for (; i + kValues <= end; i += kThreads * kValues) sum_values<T, kParts>(p, i);
  }
  // A thread's last values, fewer than eight, or all of them.
  for (; i < end; i += kThreads * kValues) {
    for (int64_t k = i; k < min(i + kValues, end); ++k) sum_value<T, kParts>(p, k);
  }
}

template <int kParts>
__global__ void __launch_bounds__(kThreads)
    sum_of_ranks_kernel(const __grid_constant__ Launch launch) {
  const int64_t block = blockIdx.x;
  int index = 0;
  int64_t first = 0;
  while (block >= launch.end_block[index]) first = launch.end_block[index++];
  const SumOfRanks& p = launch.sums[index];
  if (p.parts_in_bf16) {
    sum_block<__nv_bfloat16, kParts>(p, launch.aligned[index], block - first);
  } else {
    sum_block<float, kParts>(p, launch.aligned[index], block - first);
  }
}

bool is_aligned(const SumOfRanks& p, int parts) {
  uintptr_t bits = reinterpret_cast<uintptr_t>(p.sum);
  for (int i = 0; i < parts; ++i) bits |= reinterpret_cast<uintptr_t>(p.parts[i]);
  return bits % 16 == 0;
}

template <int kParts>
void launch_with(const Launch& launch, int64_t blocks, int parts, cudaStream_t stream) {
  if constexpr (kParts > 1) {
    if (parts < kParts) return launch_with<kParts - 1>(launch, blocks, parts, stream);
  }
  sum_of_ranks_kernel<kParts><<<static_cast<unsigned>(blocks), kThreads, 0, stream>>>(launch);
}

}  // namespace

void sum_of_ranks(const SumOfRanks* sums, int count, int parts, cudaStream_t stream) {
  TITAN_CHECK(count <= kMaxSums && parts >= 1 && parts <= kMaxRanks, "sum_of_ranks: ", count,
              " sums of ", parts, " parts");
  Launch launch{};
  int64_t blocks = 0;
  for (int i = 0; i < count; ++i) {
    launch.sums[i] = sums[i];
    launch.aligned[i] = is_aligned(sums[i], parts);
    blocks += (sums[i].count + kValuesPerBlock - 1) / kValuesPerBlock;
    launch.end_block[i] = blocks;
  }
  if (blocks == 0) return;
  launch_with<kMaxRanks>(launch, blocks, parts, stream);
  check_launch("sum_of_ranks");
}

}  // namespace titan::kernels
