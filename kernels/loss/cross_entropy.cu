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
//                 +----- to every block of the cluster ----+    written to its shared memory
//            (max,sum) of the row, combined in slice order
//                 |         |         |         |
//     row:   [ gradient | ...     |  ...    |  ...    ]     second read of shared memory
//
// Two exponentials a logit keep the special function units busy for 60 % of that time; everything
// is kept in base 2, so that an exponential is one multiply-add and one ex2.
#include <utility>

#include "kernels/common/cluster.cuh"
#include "kernels/common/cuda_check.hpp"
#include "kernels/loss/cross_entropy.hpp"
#include "kernels/loss/softmax.cuh"

namespace titan::kernels {
namespace {

constexpr int kThreads = 512;
constexpr int kWarps = kThreads / kWarpSize;
constexpr int kBlocksPerMultiprocessor = 3;
constexpr int kMaxCluster = 8;              // the largest that every Hopper chip can place
constexpr int64_t kSliceBytes = 72 * 1024;  // three slices and their static parts in 228 KB
constexpr int64_t kMaxSliceBytes = 224 * 1024;

struct Barriers {
  TransferBarrier slice;     // this block's logits are here
  TransferBarrier exchange;  // the (max, sum) of every block of the cluster is here
};

// Returns once the slice is in shared memory and all blocks of the cluster have set up theirs.
template <class T, bool kWide>
__device__ void load_slice(T* slice, const T* logits, int count, Barriers* barriers) {
  if (threadIdx.x == 0) {
    initialise_barrier(&barriers->slice, 1);
    initialise_barrier(&barriers->exchange, 1);
    initialise_fence();
    arrive_and_expect(&barriers->exchange, cluster_size() * sizeof(float2));
    const uint32_t bytes = kWide ? static_cast<uint32_t>(count * sizeof(T)) : 0;
    arrive_and_expect(&barriers->slice, bytes);
    if (bytes > 0) bulk_load(slice, logits, bytes, &barriers->slice);
  }
  __syncwarp();
  cluster_arrive_relaxed();
  if constexpr (!kWide) {
    for (int i = threadIdx.x; i < count; i += kThreads) slice[i] = logits[i];
    __syncthreads();
  }
  cluster_wait();
  wait_for_phase(&barriers->slice, 0);
}

template <class T, bool kWide>
__device__ MaxSum reduce_slice(const T* slice, int count) {
  constexpr int kWidth = Access<T, kWide>::kWidth;
  MaxSum total = no_logits();
#pragma unroll 2
  for (int i = threadIdx.x * kWidth; i < count; i += kThreads * kWidth) {
    float logits[kWidth];
    Access<T, kWide>::load(slice + i, logits);
    add_logits(total, logits);
  }
  return total;
}

// The same bits for every thread of every block of the cluster.
__device__ MaxSum combine_cluster(MaxSum value, Barriers* barriers) {
  __shared__ MaxSum warps[kWarps];
  __shared__ float2 slices[kMaxCluster];
  const uint32_t lane = threadIdx.x % kWarpSize;
  const uint32_t blocks = cluster_size();
  value = warp_combine(value);
  if (lane == 0) warps[threadIdx.x / kWarpSize] = value;
  __syncthreads();
  if (threadIdx.x < kWarpSize) {
    value = warp_combine(lane < kWarps ? warps[lane] : no_logits());
    if (lane < blocks) {
      store_to_block(&slices[cluster_rank()], {value.maximum, value.sum}, &barriers->exchange,
                     lane);
    }
  }
  wait_for_phase(&barriers->exchange, 0);
  MaxSum total = no_logits();
  for (uint32_t i = 0; i < blocks; ++i) total = combine(total, {slices[i].x, slices[i].y});
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
  const float inverse_sum = 1.0f / row.sum;
  const float scale = inverse_sum * inverse_valid_tokens;
#pragma unroll 2
  for (int i = threadIdx.x * kWidth; i < count; i += kThreads * kWidth) {
    float values[kWidth];
    Access<T, kWide>::load(slice + i, values);
#pragma unroll
    for (int k = 0; k < kWidth; ++k) {
      values[k] = exp2_approximate(fmaf(values[k], kLog2E, -row.maximum)) * scale;
    }
    Access<T, kWide>::store(logits + i, values);
  }
  // By the thread that has just written there: its own stores keep their order.
  if (label >= 0 && label < count && label / kWidth % kThreads == threadIdx.x) {
    const float logit = to_float(slice[label]);
    const float probability = exp2_approximate(fmaf(logit, kLog2E, -row.maximum)) * inverse_sum;
    logits[label] = from_float<T>((probability - 1.0f) * inverse_valid_tokens);
  }
}

template <class T, bool kWide, bool kGradient>
__global__ void __launch_bounds__(kThreads, kBlocksPerMultiprocessor)
    cross_entropy_kernel(const CrossEntropy<T> p, int slice_width) {
  extern __shared__ __align__(128) unsigned char slice_memory[];
  __shared__ Barriers barriers;
  T* slice = reinterpret_cast<T*>(slice_memory);
  const int64_t row = blockIdx.x / cluster_size();
  const int64_t begin = min(int64_t{cluster_rank()} * slice_width, p.vocabulary);
  const int count = static_cast<int>(min(int64_t{slice_width}, p.vocabulary - begin));
  const bool first_slice = cluster_rank() == 0;
  T* logits = p.logits + row * p.vocabulary + begin;

  const int32_t label = p.labels[row];
  if (label == kIgnoredLabel) {  // the whole cluster leaves together
    if constexpr (kGradient) store_zeros<T, kWide>(logits, count);
    if (first_slice && threadIdx.x == 0) p.losses[row] = 0.0f;
    return;
  }

  float inverse_valid_tokens = 0.0f;
  if constexpr (kGradient) inverse_valid_tokens = *p.inverse_valid_tokens;
  load_slice<T, kWide>(slice, logits, count, &barriers);
  const MaxSum total = combine_cluster(reduce_slice<T, kWide>(slice, count), &barriers);

  const int64_t label_in_slice = label - begin;
  if (threadIdx.x == 0) {
    if (label < 0 || label >= p.vocabulary) {
      if (first_slice) p.losses[row] = nanf("");
    } else if (label_in_slice >= 0 && label_in_slice < count) {
      const float logit = to_float(slice[label_in_slice]);
      p.losses[row] = kLn2 * (log2f(total.sum) - fmaf(logit, kLog2E, -total.maximum));
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
