// Softmax cross-entropy with the gradient in place. Each logit crosses device memory once in each
// direction: 4 bytes (2 for the losses alone). 8192 rows of 128256 bf16 logits are 4.20 GB: 0.98 ms
// at 4.30 TB/s, 1.15 ms at the 85 % to reach.
//
// A row (256 KB) is larger than a multiprocessor's shared memory, so a cluster of blocks holds it,
// a slice each. Three blocks of 64 KB share a multiprocessor: while one computes, others transfer.
//
//     row:   [ slice 0 | slice 1 | slice 2 | slice 3 ]      bulk copies to shared memory
//                 |         |         |         |
//            (max,sum) (max,sum) (max,sum) (max,sum)        of each slice, read from shared memory
//                 +----- to every block of the cluster ----+    distributed shared memory
//            (max,sum) of the row, combined in slice order
//                 |         |         |         |
//     row:   [ gradient | ...     |  ...    |  ...    ]     second read of shared memory
#include <cooperative_groups.h>

#include <type_traits>

#include "kernels/common/bulk_copy.cuh"
#include "kernels/common/cuda_check.hpp"
#include "kernels/common/reduce.cuh"
#include "kernels/common/vector.cuh"
#include "kernels/loss/cross_entropy.hpp"

namespace titan::kernels {
namespace {

namespace cg = cooperative_groups;

constexpr int kThreads = 512;
constexpr int kBlocksPerMultiprocessor = 3;
constexpr int kMaxCluster = 8;              // the largest that every Hopper chip can place
constexpr int64_t kSliceBytes = 72 * 1024;  // three slices and their static parts in 228 KB
constexpr int64_t kMaxSliceBytes = 224 * 1024;

// exp(x - offset), where scaled_offset = offset * log2(e): one multiply-add and one special
// function. For bf16 logits the error of ex2.approx (2^-22) vanishes in the rounding of the
// gradient and in a sum of many terms; fp32 logits get the exact function.
constexpr float kLog2E = 1.4426950408889634f;

template <class T>
__device__ float scaled_offset(float offset) {
  return std::is_same_v<T, float> ? offset : offset * kLog2E;
}

template <class T>
__device__ float exponential(float x, float scaled_offset) {
  if constexpr (std::is_same_v<T, float>) {
    return expf(x - scaled_offset);
  } else {
    float result;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(fmaf(x, kLog2E, -scaled_offset)));
    return result;
  }
}

// sum is relative to maximum: the terms add up to sum * exp(maximum). The empty maximum is finite
// and stays so when scaled: with an infinite one, combining two empty sums would be NaN.
struct MaxSum {
  float maximum = -1e38f;
  float sum = 0.0f;
};

template <class T>
__device__ MaxSum combine(MaxSum a, MaxSum b) {
  const float maximum = fmaxf(a.maximum, b.maximum);
  const float offset = scaled_offset<T>(maximum);
  return {maximum,
          a.sum * exponential<T>(a.maximum, offset) + b.sum * exponential<T>(b.maximum, offset)};
}

template <class T>
__device__ MaxSum warp_combine(MaxSum value) {
#pragma unroll
  for (int distance = kWarpSize / 2; distance > 0; distance /= 2) {
    const MaxSum other{__shfl_xor_sync(0xffffffffu, value.maximum, distance),
                       __shfl_xor_sync(0xffffffffu, value.sum, distance)};
    value = combine<T>(value, other);
  }
  return value;
}

// What one thread reads and writes at a time: 16 bytes, or one logit where rows are not aligned.
template <class T, bool kWide>
struct Access {
  static constexpr int kWidth = kWide ? kVectorWidth<T> : 1;

  __device__ static void load(const T* address, float (&values)[kWidth]) {
    if constexpr (kWide) {
      unpack(load_vector(address), values);
    } else {
      values[0] = to_float(*address);
    }
  }
  __device__ static void store(T* address, const float (&values)[kWidth]) {
    if constexpr (kWide) {
      store_vector(address, pack<T>(values));
    } else {
      *address = from_float<T>(values[0]);
    }
  }
};

// Brings `count` logits to shared memory and waits for them.
template <class T, bool kWide>
__device__ void load_slice(T* slice, const T* logits, int count) {
  if constexpr (kWide) {
    __shared__ TransferBarrier loaded;
    if (threadIdx.x == 0) {
      initialise_barrier(&loaded, 1);
      fence_barrier_initialisation();
      const uint32_t bytes = static_cast<uint32_t>(count * sizeof(T));
      arrive_and_expect(&loaded, bytes);
      if (bytes > 0) bulk_load(slice, logits, bytes, &loaded);
    }
    __syncthreads();
    wait_for_phase(&loaded, 0);
  } else {
    for (int i = threadIdx.x; i < count; i += kThreads) slice[i] = logits[i];
    __syncthreads();
  }
}

template <class T, bool kWide>
__device__ MaxSum reduce_slice(const T* slice, int count) {
  constexpr int kWidth = Access<T, kWide>::kWidth;
  MaxSum total;
  for (int i = threadIdx.x * kWidth; i < count; i += kThreads * kWidth) {
    float values[kWidth];
    Access<T, kWide>::load(slice + i, values);
    float maximum = total.maximum;
#pragma unroll
    for (int k = 0; k < kWidth; ++k) maximum = fmaxf(maximum, values[k]);
    const float offset = scaled_offset<T>(maximum);
    float sum = 0.0f;
#pragma unroll
    for (int k = 0; k < kWidth; ++k) sum += exponential<T>(values[k], offset);
    // The maximum is seldom a new one after the first few logits.
    const float earlier =
        maximum == total.maximum ? total.sum : total.sum * exponential<T>(total.maximum, offset);
    total = {maximum, earlier + sum};
  }
  return total;
}

// The same for every thread of every block of the cluster.
template <class T>
__device__ MaxSum cluster_combine(const cg::cluster_group& cluster, MaxSum value,
                                  cg::cluster_group::arrival_token&& all_started) {
  __shared__ MaxSum warps[kThreads / kWarpSize];
  __shared__ MaxSum slices[kMaxCluster];
  const int lane = threadIdx.x % kWarpSize;
  value = warp_combine<T>(value);
  if (lane == 0) warps[threadIdx.x / kWarpSize] = value;
  cluster.barrier_wait(
      std::move(all_started));  // another block's shared memory exists from here on
  __syncthreads();
  if (threadIdx.x < kWarpSize) {
    value = warp_combine<T>(lane < kThreads / kWarpSize ? warps[lane] : MaxSum{});
    if (lane < static_cast<int>(cluster.num_blocks())) {
      *cluster.map_shared_rank(&slices[cluster.block_rank()], lane) = value;
    }
  }
  cluster.sync();
  MaxSum total = slices[0];
  for (unsigned i = 1; i < cluster.num_blocks(); ++i) total = combine<T>(total, slices[i]);
  return total;
}

template <class T, bool kWide>
__device__ void store_zeros(T* logits, int count) {
  constexpr int kWidth = Access<T, kWide>::kWidth;
  const float zeros[kWidth] = {};
  for (int i = threadIdx.x * kWidth; i < count; i += kThreads * kWidth) {
    Access<T, kWide>::store(logits + i, zeros);
  }
}

// `label` counts from the start of the slice and may lie outside of it.
template <class T, bool kWide>
__device__ void store_gradient(T* logits, const T* slice, int count, int64_t label, MaxSum row,
                               float inverse_valid_tokens) {
  constexpr int kWidth = Access<T, kWide>::kWidth;
  const float scale = inverse_valid_tokens / row.sum;
  const float offset = scaled_offset<T>(row.maximum);
  for (int i = threadIdx.x * kWidth; i < count; i += kThreads * kWidth) {
    float values[kWidth];
    Access<T, kWide>::load(slice + i, values);
#pragma unroll
    for (int k = 0; k < kWidth; ++k) values[k] = exponential<T>(values[k], offset) * scale;
    if (label >= i && label < i + kWidth) {
#pragma unroll
      for (int k = 0; k < kWidth; ++k) {
        if (label == i + k) values[k] -= inverse_valid_tokens;
      }
    }
    Access<T, kWide>::store(logits + i, values);
  }
}

template <class T, bool kWide, bool kGradient>
__global__ void __launch_bounds__(kThreads, kBlocksPerMultiprocessor)
    cross_entropy_kernel(const CrossEntropy<T> p, int slice_width) {
  extern __shared__ __align__(128) unsigned char slice_memory[];
  T* slice = reinterpret_cast<T*>(slice_memory);
  const cg::cluster_group cluster = cg::this_cluster();
  const int64_t row = blockIdx.x / cluster.num_blocks();
  const int64_t begin = min(static_cast<int64_t>(cluster.block_rank()) * slice_width, p.vocabulary);
  const int count = static_cast<int>(min(static_cast<int64_t>(slice_width), p.vocabulary - begin));
  const bool first_slice = cluster.block_rank() == 0;
  T* logits = p.logits + row * p.vocabulary + begin;

  const int32_t label = p.labels[row];
  if (label == kIgnoredLabel) {  // the whole cluster leaves together
    if constexpr (kGradient) store_zeros<T, kWide>(logits, count);
    if (first_slice && threadIdx.x == 0) p.losses[row] = 0.0f;
    return;
  }

  float inverse_valid_tokens = 0.0f;
  if constexpr (kGradient) inverse_valid_tokens = *p.inverse_valid_tokens;
  cg::cluster_group::arrival_token all_started = cluster.barrier_arrive();
  load_slice<T, kWide>(slice, logits, count);
  const MaxSum total =
      cluster_combine<T>(cluster, reduce_slice<T, kWide>(slice, count), std::move(all_started));

  const int64_t label_in_slice = label - begin;
  if (threadIdx.x == 0) {
    if (label < 0 || label >= p.vocabulary) {
      if (first_slice) p.losses[row] = nanf("");
    } else if (label_in_slice >= 0 && label_in_slice < count) {
      p.losses[row] = logf(total.sum) - (to_float(slice[label_in_slice]) - total.maximum);
    }
  }
  if constexpr (kGradient) {
    store_gradient<T, kWide>(logits, slice, count, label_in_slice, total, inverse_valid_tokens);
  }
}

template <class T, bool kWide, bool kGradient>
void launch(const CrossEntropy<T>& p, cudaStream_t stream) {
  constexpr int64_t kWidth = Access<T, kWide>::kWidth;
  const auto slice_width = [&](int cluster) {
    const int64_t width = (p.vocabulary + cluster - 1) / cluster;
    return (width + kWidth - 1) / kWidth * kWidth;
  };
  const auto slice_bytes = [&](int cluster) {
    return slice_width(cluster) * static_cast<int64_t>(sizeof(T));
  };
  int cluster = 1;
  while (cluster < kMaxCluster && slice_bytes(cluster) > kSliceBytes) cluster *= 2;
  TITAN_CHECK(slice_bytes(cluster) <= kMaxSliceBytes, "a row of ", p.vocabulary,
              " logits is too large for the cross-entropy kernel: at most ",
              kMaxCluster * kMaxSliceBytes / static_cast<int64_t>(sizeof(T)), " fit");
  TITAN_CHECK(p.rows <= INT32_MAX / cluster, "too many rows for one cross-entropy launch: ", p.rows,
              "; use smaller chunks");

  const auto kernel = cross_entropy_kernel<T, kWide, kGradient>;
  const auto bytes = static_cast<int>(slice_bytes(cluster));
  TITAN_CUDA_CHECK(
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes));
  cudaLaunchAttribute attribute{};
  attribute.id = cudaLaunchAttributeClusterDimension;
  attribute.val.clusterDim = {static_cast<unsigned>(cluster), 1, 1};
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(p.rows * cluster));
  config.blockDim = dim3(kThreads);
  config.dynamicSmemBytes = static_cast<size_t>(bytes);
  config.stream = stream;
  config.attrs = &attribute;
  config.numAttrs = 1;
  TITAN_CUDA_CHECK(cudaLaunchKernelEx(&config, kernel, p, static_cast<int>(slice_width(cluster))));
}

template <class T, bool kWide>
void launch(const CrossEntropy<T>& p, cudaStream_t stream) {
  if (p.inverse_valid_tokens) {
    launch<T, kWide, true>(p, stream);
  } else {
    launch<T, kWide, false>(p, stream);
  }
}

}  // namespace

template <class T>
void cross_entropy(const CrossEntropy<T>& p, cudaStream_t stream) {
  if (p.rows == 0 || p.vocabulary == 0) return;
  const bool wide = p.vocabulary % kVectorWidth<T> == 0 &&
                    reinterpret_cast<uintptr_t>(p.logits) % sizeof(uint4) == 0;
  if (wide) {
    launch<T, true>(p, stream);
  } else {
    launch<T, false>(p, stream);
  }
}

template void cross_entropy<float>(const CrossEntropy<float>&, cudaStream_t);
template void cross_entropy<__nv_bfloat16>(const CrossEntropy<__nv_bfloat16>&, cudaStream_t);

}  // namespace titan::kernels
