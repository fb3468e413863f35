// What the steps computed, on its way to the host without a wait: each step's loss, gradient norm
// and "update skipped" flag are copied to pinned memory behind the step's work, and read once the
// device has passed that point.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "lib/ops/device.hpp"

namespace titan {

struct StepResult {
  int64_t step = 0;
  double loss = 0;
  double grad_norm = 0;
  bool update_skipped = false;
};

class StepResults {
 public:
  explicit StepResults(const ops::Device& device);
  ~StepResults();

  // loss, grad_norm: fp32 scalars; skipped: int32 scalar; all on the device.
  void push(int64_t step, const at::Tensor& loss, const at::Tensor& grad_norm,
            const at::Tensor& skipped);

  // The results that have arrived since the last call, oldest first. Never waits.
  std::vector<StepResult> arrived();
  // The same after waiting for all that were pushed.
  std::vector<StepResult> all_sync();

 private:
  struct Pending;
  std::vector<StepResult> take(bool wait);

  const ops::Device& device_;
  std::deque<std::unique_ptr<Pending>> pending_;
};

}  // namespace titan
