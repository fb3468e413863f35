// From the data loader's host batches to micro-batches on the compute device.
#pragma once

#include <memory>
#include <vector>

#include "lib/data/data_loader.hpp"
#include "lib/metrics/throughput.hpp"
#include "lib/train/step.hpp"

namespace titan {

// This rank's micro-batches of one optimizer step, and how many labels count, as scalars on the
// device: upstream divides the summed losses by those of all ranks.
struct GlobalBatch {
  std::vector<MicroBatch> micro_batches;
  int64_t tokens = 0;               // of this rank
  int64_t valid_tokens = 0;         // of this rank
  at::Tensor all_valid_tokens;      // fp64
  at::Tensor inverse_valid_tokens;  // 1 / all_valid_tokens, fp32
};

class BatchFeed {
 public:
  // References outlive the feed. `meter` may be null.
  BatchFeed(DataLoader& loader, const ops::Device& device, const Mesh& mesh, int64_t batch,
            int64_t seq_len, ThroughputMeter* meter);

  // The next `count` micro-batches; false, on all ranks alike, when finite data ended before there
  // were that many. Collective.
  bool next(int64_t count, GlobalBatch& batch);

 private:
  at::Tensor to_device(const std::vector<int32_t>& ids) const;

  DataLoader& loader_;
  const ops::Device& device_;
  const Mesh& mesh_;
  int64_t batch_, seq_len_;
  ThroughputMeter* meter_;
};

}  // namespace titan
