#include "lib/ops/op_bench.hpp"

#include <ATen/ATen.h>

#include <cstdio>
#include <functional>

#include "lib/base/error.hpp"
#include "lib/ops/device_timer.hpp"

namespace titan::ops {

#if TITAN_CUDA

namespace {

constexpr int kWarmUpRuns = 5;
constexpr int kRuns = 31;
constexpr int64_t kCopyBytes = int64_t{1} << 30;
constexpr int64_t kCacheFlushBytes = int64_t{1} << 29;  // ten times the L2 of a Hopper GPU

// Reading a large buffer leaves its clean lines in the L2: the timed run neither finds its inputs
// there nor has to write back what another kernel left.
class Timer {
 public:
  explicit Timer(const Device& device)
      : device_(device), flush_(at::ones({kCacheFlushBytes / 4}, device.options(at::kFloat))) {}

  double median_microseconds(const std::function<void()>& prepare,
                             const std::function<void()>& run) {
    return 1e3 * median_milliseconds(device_, {kWarmUpRuns, kRuns}, run, [&] {
             prepare();
             flush_.sum();
           });
  }

 private:
  const Device& device_;
  at::Tensor flush_;
};

OpTiming time_copy(Timer& timer, const Device& device) {
  const at::Tensor from = at::ones({kCopyBytes / 4}, device.options(at::kFloat)).normal_();
  at::Tensor to = at::empty_like(from);
  const double time = timer.median_microseconds([] {}, [&] { to.copy_(from); });
  return {"copy", "1 GiB", time, 2e-3 * static_cast<double>(kCopyBytes) / time, 1.0};
}

OpTiming time_case(Timer& timer, const Op& op, const OpCase& op_case, const Device& device) {
  const Tensors inputs = op_case.inputs(device.torch(), at::kBFloat16);
  Tensors first_values;
  for (size_t index : op.restored) first_values.push_back(inputs[index].clone());
  const auto prepare = [&] {
    for (size_t i = 0; i < op.restored.size(); ++i) inputs[op.restored[i]].copy_(first_values[i]);
  };
  const auto run = [&] {
    op.timed_run ? op.timed_run(inputs) : static_cast<void>(op.fused(inputs));
  };
  const double time = timer.median_microseconds(prepare, run);
  return {op.name, op_case.shape, time, 1e-3 * op_case.bytes / time, 0};
}

}  // namespace

std::vector<OpTiming> time_ops(const Device& device, const std::vector<Op>& table,
                               const std::string& filter) {
  if (!device.is_cuda()) throw InputError("timing the ops needs a CUDA device; none is visible");
  Timer timer(device);
  std::vector<OpTiming> timings = {time_copy(timer, device)};
  for (const Op& op : table) {
    if (op.name.find(filter) == std::string::npos) continue;
    for (const OpCase& op_case : op.cases) {
      if (!op_case.timed) continue;
      timings.push_back(time_case(timer, op, op_case, device));
      timings.back().share_of_copy =
          timings.back().gigabytes_per_second / timings.front().gigabytes_per_second;
    }
  }
  return timings;
}

#else

std::vector<OpTiming> time_ops(const Device&, const std::vector<Op>&, const std::string&) {
  throw InputError("this build has no CUDA kernels to time: install nvcc (CUDA 13.0), build again");
}

#endif

std::string format(const OpTiming& timing) {
  char line[200];
  std::snprintf(line, sizeof(line), "%-26s %-40s %9.1f us %6.0f GB/s %4.0f %% of copy",
                timing.op.c_str(), timing.shape.c_str(), timing.microseconds,
                timing.gigabytes_per_second, 100 * timing.share_of_copy);
  return line;
}

}  // namespace titan::ops
