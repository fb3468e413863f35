// From the data loader's host batches to micro-batches on the compute device.
#pragma once

#include <memory>
#include <vector>

#include "lib/data/data_loader.hpp"
#include "lib/metrics/throughput.hpp"
#include "lib/train/step.hpp"

namespace titan {

// The micro-batches of one optimizer step, and 1 / (labels in them that count) as a scalar on the
// device: what upstream divides the summed losses by.
struct GlobalBatch {
  std::vector<MicroBatch> micro_batches;
  at::Tensor inverse_valid_tokens;
  int64_t tokens = 0;
};

class BatchFeed {
 public:
  // `loader` and `device` outlive the feed. `meter` may be null.
  BatchFeed(DataLoader& loader, const ops::Device& device, int64_t batch, int64_t seq_len,
            ThroughputMeter* meter);

  // The next `count` micro-batches; false when finite data ended before there were that many.
  bool next(int64_t count, GlobalBatch& batch);

 private:
  at::Tensor to_device(const std::vector<int32_t>& ids) const;

  DataLoader& loader_;
  const ops::Device& device_;
  int64_t batch_, seq_len_;
  ThroughputMeter* meter_;
};

}  // namespace titan
