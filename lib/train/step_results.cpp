#include "lib/train/step_results.hpp"

#include <ATen/ATen.h>

#include <limits>

#if TITAN_CUDA
#include <ATen/cuda/CUDAEvent.h>
#endif

namespace titan {

struct StepResults::Pending {
  int64_t step = 0;
  at::Tensor values;  // fp32, in host memory
#if TITAN_CUDA
  at::cuda::CUDAEvent event;
#endif
};

StepResults::StepResults(const ops::Device& device) : device_(device) {}
StepResults::~StepResults() = default;

void StepResults::push(int64_t step, const Values& values) {
  auto pending = std::make_unique<Pending>();
  pending->step = step;
  std::vector<at::Tensor> scalars;
  for (const at::Tensor& value : {values.loss, values.max_loss, values.grad_norm,
                                  values.update_skipped, values.stop_signal}) {
    scalars.push_back(value.to(at::kFloat).reshape({}));
  }
  const at::Tensor together = at::stack(scalars);
#if TITAN_CUDA
  if (device_.is_cuda()) {
    pending->values =
        at::empty(together.sizes(), at::TensorOptions().dtype(at::kFloat).pinned_memory(true));
    pending->values.copy_(together, /*non_blocking=*/true);
    pending->event.record();
    pending_.push_back(std::move(pending));
    return;
  }
#endif
  pending->values = together;
  pending_.push_back(std::move(pending));
}

std::vector<StepResult> StepResults::take(int64_t wait_up_to) {
  std::vector<StepResult> results;
  while (!pending_.empty()) {
    const Pending& oldest = *pending_.front();
#if TITAN_CUDA
    if (device_.is_cuda()) {
      if (oldest.step <= wait_up_to) {
        oldest.event.synchronize();
      } else if (!oldest.event.query()) {
        break;
      }
    }
#else
    (void)wait_up_to;
#endif
    const float* values = oldest.values.const_data_ptr<float>();
    results.push_back({oldest.step, values[0], values[1], values[2], values[3] != 0,
                       static_cast<int>(values[4])});
    pending_.pop_front();
  }
  return results;
}

std::vector<StepResult> StepResults::arrived() { return take(-1); }
std::vector<StepResult> StepResults::up_to_sync(int64_t step) { return take(step); }
std::vector<StepResult> StepResults::all_sync() {
  return take(std::numeric_limits<int64_t>::max());
}

}  // namespace titan
