// Rows on their way from device memory to the row groups that stay (row_group.cuh): the copy engine
// keeps up to kMaxStages rows ahead of each group in shared memory, so that a group that waits for
// its own reductions leaves no gap in the traffic. Group g of G takes rows g, g + G, ...
//
//   RowPipeline<1> rows(stream, shared, filled);
//   for (; rows.more(); rows.next()) {
//     const unsigned char* row = rows.wait();
//     ... read it for the last time, pass a barrier of the group ...
//     rows.refill();
//     ... the rest ...
//   }
#pragma once

#include <algorithm>

#include "kernels/common/cluster.cuh"
#include "kernels/common/cuda_check.hpp"
#include "kernels/common/launch.cuh"
#include "kernels/common/row_group.cuh"

namespace titan::kernels {

inline constexpr int kMaxStages = 4;
// Inputs of at most this size, about that of an H200's L2 cache, are the first that leave it, so
// that what the kernel writes stays there for the next one: the bench's module at M 16384, K and N
// 1024 takes 5 us less. Larger ones are read up to 7 % more slowly so.
inline constexpr int64_t kLargestReadOnce = 64 << 20;

// Rows of a matrix in device memory. Address, stride and bytes are multiples of 16.
struct RowSource {
  const void* first;
  int64_t stride;  // bytes from row to row
  uint32_t bytes;  // of a row
};

// Strides and columns in elements.
template <class T>
RowSource row_source(const T* first, int64_t stride, int64_t cols) {
  constexpr int64_t kBytes = sizeof(T);
  return {first, stride * kBytes, static_cast<uint32_t>(cols * kBytes)};
}

// One row of each source fills a stage, in this order.
template <int kSources>
struct RowStream {
  RowSource sources[kSources];
  int64_t rows;
  bool read_again = false;  // by the next kernel
  int64_t groups = 0;       // launch_rows sets these three
  int stages = 0;
  bool read_once = false;

  TITAN_HOST_DEVICE uint32_t stage_bytes() const {
    uint32_t bytes = 0;
    for (const RowSource& source : sources) bytes += source.bytes;
    return bytes;
  }
};

// By group.
using StageBarriers = TransferBarrier[kMaxRowGroups][kMaxStages];

template <int kSources>
class RowPipeline {
 public:
  // By all threads of the block, before they read or write device memory. `shared`: for each group
  // stages of stage_bytes().
  __device__ RowPipeline(const RowStream<kSources>& stream, unsigned char* shared,
                         StageBarriers& filled)
      : stream_(stream),
        shared_(shared + threadIdx.y * stream.stages * stream.stage_bytes()),
        filled_(filled[threadIdx.y]),
        row_(row_group_index()) {
    if (row_ >= stream_.groups) row_ = stream_.rows;  // the blocks' last groups may be too many
    if (threadIdx.x == 0) {
      for (int i = 0; i < stream_.stages; ++i) initialise_barrier(&filled_[i], 1);
      initialise_fence();
    }
    wait_for_kernels_before();
    if (threadIdx.x == 0) {
      for (int i = 0; i < stream_.stages; ++i) request(row_ + i * stream_.groups, i);
    }
    __syncthreads();
  }

  __device__ bool more() const { return row_ < stream_.rows; }
  __device__ int64_t row() const { return row_; }

  // The row's bytes, once they are here.
  __device__ const unsigned char* wait() const {
    wait_for_phase(&filled_[stage_], parity_);
    return shared_ + stage_ * stream_.stage_bytes();
  }

  // Gives the row's place to a later one.
  __device__ void refill() const {
    if (threadIdx.x == 0) request(row_ + stream_.stages * stream_.groups, stage_);
  }

  __device__ void next() {
    row_ += stream_.groups;
    if (++stage_ == stream_.stages) {
      stage_ = 0;
      parity_ ^= 1;
    }
  }

 private:
  __device__ void request(int64_t row, int stage) const {
    if (row >= stream_.rows) return;
    const uint32_t bytes = stream_.stage_bytes();
    unsigned char* target = shared_ + stage * bytes;
    arrive_and_expect(&filled_[stage], bytes);
#pragma unroll
    for (const RowSource& source : stream_.sources) {
      const void* from = static_cast<const unsigned char*>(source.first) + row * source.stride;
      if (stream_.read_once) {
        bulk_load_once(target, from, source.bytes, &filled_[stage]);
      } else {
        bulk_load(target, from, source.bytes, &filled_[stage]);
      }
      target += source.bytes;
    }
  }

  const RowStream<kSources>& stream_;
  unsigned char* shared_;
  TransferBarrier* filled_;
  int64_t row_;
  int stage_ = 0;
  uint32_t parity_ = 0;
};

// How many row groups stay, and how many stages each has.
struct RowPlan {
  int threads = 0;           // of a group
  int groups_per_block = 0;  // one block to a multiprocessor
  int stages = 0;            // 0: not one row fits
  int64_t groups = 0;        // in all
};

// At most `threads_per_multiprocessor` threads, as the kernel's registers allow, and two stages or
// more where they fit. Few rows are spread over all multiprocessors.
template <int kSources>
RowPlan plan_rows(const RowStream<kSources>& rows, int threads, int threads_per_multiprocessor) {
  constexpr int64_t kSharedBytes = 228 * 1024;  // of a Hopper multiprocessor
  constexpr int64_t kOverhead = 1024 + sizeof(StageBarriers) + 3 * sizeof(RowScratch);
  const int64_t multiprocessors = multiprocessor_count();
  const int64_t needed = (rows.rows + multiprocessors - 1) / multiprocessors;
  const int most = std::clamp(threads_per_multiprocessor / threads, 1, max_row_groups(threads));
  RowPlan plan{.threads = threads};
  for (int groups = static_cast<int>(std::min<int64_t>(most, needed));
       groups > 0 && plan.stages < 2; --groups) {
    const int64_t stages = (kSharedBytes - kOverhead) / groups / rows.stage_bytes();
    plan.groups_per_block = groups;
    plan.stages = static_cast<int>(std::min<int64_t>(stages, kMaxStages));
  }
  plan.groups = std::min(rows.rows, multiprocessors * plan.groups_per_block);
  return plan;
}

// Launches kernel(params, rows) early, with the stages in dynamic shared memory.
template <int kSources, class Params>
void launch_rows(void (*kernel)(Params, RowStream<kSources>), const char* name,
                 const Params& params, RowStream<kSources> rows, const RowPlan& plan,
                 cudaStream_t stream) {
  TITAN_CHECK(plan.stages > 0, name, ": a row of ", rows.stage_bytes(),
              " bytes does not fit into shared memory");
  rows.stages = plan.stages;
  rows.groups = plan.groups;
  rows.read_once = !rows.read_again && rows.rows * rows.stage_bytes() <= kLargestReadOnce;
  const int shared_bytes =
      plan.groups_per_block * plan.stages * static_cast<int>(rows.stage_bytes());
  TITAN_CUDA_CHECK(
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared_bytes));
  const int64_t blocks = (plan.groups + plan.groups_per_block - 1) / plan.groups_per_block;
  const dim3 block(static_cast<unsigned>(plan.threads),
                   static_cast<unsigned>(plan.groups_per_block));
  launch_early(name, kernel, blocks, block, static_cast<size_t>(shared_bytes), stream, params,
               rows);
}

}  // namespace titan::kernels
