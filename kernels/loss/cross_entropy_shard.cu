// Cross-entropy over a shard of the columns. The statistics read each logit once, the gradient
// reads and writes it once: 2 and 4 bytes. 8192 rows of 64128 bf16 logits (half of 128256) are 1.05
// GB: 0.29 ms and 0.57 ms at 85 % of 4.30 TB/s.
//
// A block owns a row and each thread several of its units of 16 bytes at a time, all loaded before
// the first is used:
//
//     row:       [ 0 1 2 .. 255 | 0 1 2 .. 255 | 0 1 2 .. 255 | 0 1 2 .. 255 | 0 1 .. ]   thread
//     in flight  '--------------------- one sweep ---------------------------'
#include "kernels/common/cuda_check.hpp"
#include "kernels/loss/cross_entropy_shard.hpp"
#include "kernels/loss/softmax.cuh"

namespace titan::kernels {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarpSize;
constexpr int kBlocksPerMultiprocessor = 5;
constexpr int kUnits = 4;  // in flight per thread
constexpr int kStatistics = 3;

// What a thread has of a row in one sweep; beyond the row's end logits of -infinity, which add
// nothing to any statistic and are not stored.
template <class T, bool kWide>
struct Sweep {
  using Unit = std::conditional_t<kWide, Vector<T>, T>;
  static constexpr int kWidth = Access<T, kWide>::kWidth;
  static constexpr int64_t kStride = int64_t{kThreads} * kWidth;

  Unit units[kUnits];

  __device__ void load(const T* row, int64_t first, int64_t columns) {
#pragma unroll
    for (int u = 0; u < kUnits; ++u) {
      const int64_t column = first + u * kStride;
      units[u] = column < columns ? *reinterpret_cast<const Unit*>(row + column) : nothing();
    }
  }

  __device__ void values(int u, float (&logits)[kWidth]) const {
    if constexpr (kWide) {
      unpack(units[u], logits);
    } else {
      logits[0] = to_float(units[u]);
    }
  }

  __device__ static Unit nothing() {
    float logits[kWidth];
#pragma unroll
    for (int k = 0; k < kWidth; ++k) logits[k] = -__builtin_huge_valf();
    if constexpr (kWide) {
      return pack<T>(logits);
    } else {
      return from_float<T>(logits[0]);
    }
  }
};

__device__ MaxSum block_combine(MaxSum value) {
  __shared__ MaxSum warps[kWarps];
  const uint32_t lane = threadIdx.x % kWarpSize;
  value = warp_combine(value);
  if (lane == 0) warps[threadIdx.x / kWarpSize] = value;
  __syncthreads();
  return warp_combine(lane < kWarps ? warps[lane] : no_logits());
}

template <class T, bool kWide>
__global__ void __launch_bounds__(kThreads, kBlocksPerMultiprocessor)
    cross_entropy_statistics_kernel(const CrossEntropyStatistics<T> p) {
  using Row = Sweep<T, kWide>;
  __shared__ float scratch[kReduceScratch];
  const int64_t row = blockIdx.x;
  const int32_t label = p.labels[row];
  const int64_t columns = label == kIgnoredLabel ? 0 : p.columns;
  const T* logits = p.logits + row * p.columns;

  MaxSum total = no_logits();
  float largest = -FLT_MAX;
  for (int64_t column = threadIdx.x * Row::kWidth; column < columns;
       column += kUnits * Row::kStride) {
    Row sweep;
    sweep.load(logits, column, columns);
#pragma unroll
    for (int u = 0; u < kUnits; ++u) {
      float values[Row::kWidth];
      sweep.values(u, values);
      largest = fmaxf(largest, add_logits(total, values));
    }
  }
  total = block_combine(total);
  largest = block_max(largest, scratch);

  if (threadIdx.x == 0) {
    const int64_t target = label - p.first;
    float* statistics = p.statistics + row * kStatistics;
    statistics[0] = largest;
    statistics[1] = total.sum;  // of 2^(logit * kLog2E - largest * kLog2E)
    statistics[2] = target >= 0 && target < columns ? to_float(logits[target]) : 0.0f;
  }
}

// Of the whole row, from all shards' statistics in their order.
struct RowStatistics {
  MaxSum total;
  float target;  // the logit of the label's class
};

__device__ RowStatistics row_statistics(const CrossEntropyLosses& p, int64_t row) {
  RowStatistics result{no_logits(), 0.0f};
  for (int64_t shard = 0; shard < p.shards; ++shard) {
    const float* part = p.statistics + (shard * p.rows + row) * kStatistics;
    // As rounded when the sum was formed.
    const float maximum = fmaxf(__fmul_rn(part[0], kLog2E), no_logits().maximum);
    result.total = combine(result.total, {maximum, part[1]});
    result.target += part[2];
  }
  return result;
}

__device__ float loss(const CrossEntropyLosses& p, int32_t label, const RowStatistics& row) {
  if (label == kIgnoredLabel) return 0.0f;
  if (label < 0 || label >= p.vocabulary) return nanf("");
  return kLn2 * (log2f(row.total.sum) - fmaf(row.target, kLog2E, -row.total.maximum));
}

__global__ void __launch_bounds__(kThreads) cross_entropy_losses_kernel(CrossEntropyLosses p) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (row < p.rows) p.losses[row] = loss(p, p.labels[row], row_statistics(p, row));
}

template <class T, bool kWide>
__global__ void __launch_bounds__(kThreads, kBlocksPerMultiprocessor)
    cross_entropy_gradient_kernel(const CrossEntropyGradient<T> p) {
  using Row = Sweep<T, kWide>;
  const int64_t row = blockIdx.x;
  T* logits = p.logits + row * p.columns;
  int64_t column = threadIdx.x * Row::kWidth;
  Row sweep;
  sweep.load(logits, column, p.columns);  // on their way while the statistics are combined

  const float inverse_valid_tokens = *p.inverse_valid_tokens;
  const int32_t label = p.losses.labels[row];
  const bool counts = label != kIgnoredLabel;
  const RowStatistics statistics = row_statistics(p.losses, row);
  const float maximum = statistics.total.maximum;
  const float inverse_sum = 1.0f / statistics.total.sum;
  const float scale = inverse_sum * inverse_valid_tokens;

  while (column < p.columns) {
#pragma unroll
    for (int u = 0; u < kUnits; ++u) {
      float values[Row::kWidth];
      sweep.values(u, values);
#pragma unroll
      for (int k = 0; k < Row::kWidth; ++k) {
        const float exponential = exp2_approximate(fmaf(values[k], kLog2E, -maximum));
        values[k] = counts ? exponential * scale : 0.0f;
      }
      const int64_t first = column + u * Row::kStride;
      if (first < p.columns) Access<T, kWide>::store(logits + first, values);
    }
    column += kUnits * Row::kStride;
    sweep.load(logits, column, p.columns);
  }
  if (threadIdx.x == 0) p.losses.losses[row] = loss(p.losses, label, statistics);
  // By the thread that has just written there: its own stores keep their order.
  const int64_t target = label - p.first;
  if (counts && target >= 0 && target < p.columns &&
      target / Row::kWidth % kThreads == threadIdx.x) {
    const float exponential = exp2_approximate(fmaf(statistics.target, kLog2E, -maximum));
    logits[target] = from_float<T>((exponential * inverse_sum - 1.0f) * inverse_valid_tokens);
  }
}

// A block for each row.
unsigned row_blocks(int64_t rows) {
  TITAN_CHECK(rows <= INT32_MAX, "too many rows for one cross-entropy launch: ", rows,
              "; use smaller chunks");
  return static_cast<unsigned>(rows);
}

template <class T>
bool is_wide(const T* logits, int64_t columns) {
  return columns % kVectorWidth<T> == 0 && reinterpret_cast<uintptr_t>(logits) % sizeof(uint4) == 0;
}

}  // namespace

template <class T>
void cross_entropy_statistics(const CrossEntropyStatistics<T>& p, cudaStream_t stream) {
  if (p.rows == 0) return;
  const auto kernel = is_wide(p.logits, p.columns) ? cross_entropy_statistics_kernel<T, true>
                                                   : cross_entropy_statistics_kernel<T, false>;
  kernel<<<row_blocks(p.rows), kThreads, 0, stream>>>(p);
  check_launch("cross_entropy_statistics");
}

void cross_entropy_losses(const CrossEntropyLosses& p, cudaStream_t stream) {
  if (p.rows == 0) return;
  const unsigned blocks = row_blocks((p.rows + kThreads - 1) / kThreads);
  cross_entropy_losses_kernel<<<blocks, kThreads, 0, stream>>>(p);
  check_launch("cross_entropy_losses");
}

template <class T>
void cross_entropy_gradient(const CrossEntropyGradient<T>& p, cudaStream_t stream) {
  if (p.losses.rows == 0) return;
  const auto kernel = is_wide(p.logits, p.columns) ? cross_entropy_gradient_kernel<T, true>
                                                   : cross_entropy_gradient_kernel<T, false>;
  kernel<<<row_blocks(p.losses.rows), kThreads, 0, stream>>>(p);
  check_launch("cross_entropy_gradient");
}

using bf16 = __nv_bfloat16;
template void cross_entropy_statistics<float>(const CrossEntropyStatistics<float>&, cudaStream_t);
template void cross_entropy_statistics<bf16>(const CrossEntropyStatistics<bf16>&, cudaStream_t);
template void cross_entropy_gradient<float>(const CrossEntropyGradient<float>&, cudaStream_t);
template void cross_entropy_gradient<bf16>(const CrossEntropyGradient<bf16>&, cudaStream_t);

}  // namespace titan::kernels
