#include "lib/train/step_results.hpp"

#include <ATen/ATen.h>

#if TITAN_CUDA
#include <ATen/cuda/CUDAEvent.h>
#endif

namespace titan {

struct StepResults::Pending {
  int64_t step = 0;
  at::Tensor values;  // fp32 [3] in host memory: loss, gradient norm, skipped
#if TITAN_CUDA
  at::cuda::CUDAEvent event;
#endif
};

StepResults::StepResults(const ops::Device& device) : device_(device) {}
StepResults::~StepResults() = default;

void StepResults::push(int64_t step, const at::Tensor& loss, const at::Tensor& grad_norm,
                       const at::Tensor& skipped) {
  auto pending = std::make_unique<Pending>();
  pending->step = step;
  at::Tensor values = at::stack({loss.to(at::kFloat), grad_norm.to(at::kFloat).reshape({}),
                                 skipped.to(at::kFloat).reshape({})});
#if TITAN_CUDA
  if (device_.is_cuda()) {
    pending->values = at::empty({3}, at::TensorOptions().dtype(at::kFloat).pinned_memory(true));
    pending->values.copy_(values, /*non_blocking=*/true);
    pending->event.record();
    pending_.push_back(std::move(pending));
    return;
  }
#endif
  pending->values = values;
  pending_.push_back(std::move(pending));
}

std::vector<StepResult> StepResults::take(bool wait) {
  std::vector<StepResult> results;
  while (!pending_.empty()) {
    const Pending& oldest = *pending_.front();
#if TITAN_CUDA
    if (device_.is_cuda()) {
      if (wait) {
        oldest.event.synchronize();
      } else if (!oldest.event.query()) {
        break;
      }
    }
#else
    (void)wait;
#endif
    const float* values = oldest.values.const_data_ptr<float>();
    results.push_back({oldest.step, values[0], values[1], values[2] != 0});
    pending_.pop_front();
  }
  return results;
}

std::vector<StepResult> StepResults::arrived() { return take(false); }
std::vector<StepResult> StepResults::all_sync() { return take(true); }

}  // namespace titan
