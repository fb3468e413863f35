// What the steps computed, on its way to the host without a wait: each step's numbers are copied to
// pinned memory behind the step's work, and read once the device has passed that point.
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
  double loss = 0;      // per valid token of the whole mesh
  double max_loss = 0;  // the largest of the data ranks' own losses per valid token
  double grad_norm = 0;
  bool update_skipped = false;
  int stop_signal = 0;  // that some rank had received before this step ended; 0: none
};

class StepResults {
 public:
  explicit StepResults(const ops::Device& device);
  ~StepResults();

  // Scalars on the device, those of the StepResult in its order.
  struct Values {
    at::Tensor loss, max_loss, grad_norm, update_skipped, stop_signal;
  };
  void push(int64_t step, const Values& values);

  // The results that have arrived since the last call, oldest first. Never waits.
  std::vector<StepResult> arrived();
  // The same after waiting for those of the steps up to this one, or for all that were pushed.
  std::vector<StepResult> up_to_sync(int64_t step);
  std::vector<StepResult> all_sync();

 private:
  struct Pending;
  std::vector<StepResult> take(int64_t wait_up_to);

  const ops::Device& device_;
  std::deque<std::unique_ptr<Pending>> pending_;
};

}  // namespace titan
