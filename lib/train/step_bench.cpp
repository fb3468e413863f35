#include "lib/train/step_bench.hpp"

#include <ATen/ATen.h>

#include <algorithm>
#include <cstdio>
#include <map>

#include "lib/base/error.hpp"
#include "lib/metrics/memory.hpp"
#include "lib/metrics/throughput.hpp"
#include "lib/optim/optimizer.hpp"
#include "lib/parallel/peer_memory.hpp"
#include "lib/train/float8_measurements.hpp"
#include "lib/train/from_job.hpp"
#include "lib/train/report.hpp"
#include "lib/train/step.hpp"
#include "lib/train/step_floors.hpp"

namespace titan {
namespace {

struct PartRule {
  const char* part;
  std::vector<const char*> words;  // in a kernel's name
};

// The first rule that matches wins.
const std::vector<PartRule>& part_rules() {
  static const std::vector<PartRule> rules = {
      {"attention", {"fmha", "flash", "sdpa", "attention", "cudnn"}},
      {"matmul", {"gemm", "nvjet", "cutlass", "cublas", "splitK", "sum_parts"}},
      {"quantize", {"quantize", "column_copy", "column_amax"}},
      {"norms", {"rms_norm"}},
      {"swiglu, rope", {"swiglu", "rope"}},
      {"loss", {"cross_entropy"}},
      {"embedding", {"embedding"}},
      {"optimizer", {"adamw", "square_sum", "add_partials", "decide_step"}},
  };
  return rules;
}

std::string part_of(const std::string& kernel) {
  if (communicates(kernel)) return "communication";
  for (const PartRule& rule : part_rules()) {
    for (const char* word : rule.words) {
      if (kernel.find(word) != std::string::npos) return rule.part;
    }
  }
  return "other";
}

}  // namespace

StepTiming time_step(const JobConfig& job, const ops::Device& device, World& world, int64_t steps) {
  const std::unique_ptr<HostGroup> hosts = world.host_group("bench");
  const Mesh mesh = make_mesh(mesh_shape(job, world.size()), world);
  Float8Measurements measurements(job, device, mesh.shape, *hosts);
  const JobPlan plan = plan_job(job, mesh.shape, measurements.measurer());
  measurements.finish();
  const Decoder decoder = build(plan.model);
  Sharder sharder(declare_units(plan.model, {mesh.tp.rank(), mesh.tp.size()}),
                  sharder_config(job, mesh.shape), device, mesh);
  sharder.initialise(1);
  Optimizer optimizer(optimizer_config(job), sharder, device);
  Step program(decoder, plan.model, sharder, device, !job.parallelism.disable_loss_parallel);
  if (job.parallelism.enable_async_tensor_parallel) {
    const std::string why_not =
        program.use_async_tensor_parallel({job.training.local_batch_size * job.training.seq_len});
    if (!why_not.empty()) throw InputError(why_not);
  }
  MemoryMonitor memory(device.torch().index());
  memory.count_outside_allocator(PeerMemory::allocated());

  const int64_t tokens = job.training.local_batch_size * job.training.seq_len;
  const int64_t vocab = plan.model.embedding.vocab_size;
  const double valid = static_cast<double>(tokens * plan.micro_batches * mesh.shape.data_ranks());
  at::Tensor inverse_valid = at::full({}, 1 / valid, device.options(at::kFloat));
  // Tensor-parallel ranks share their data.
  at::manual_seed(static_cast<uint64_t>(mesh.data_rank()));
  auto random_tokens = [&] { return at::randint(vocab, {tokens}, device.options(at::kInt)); };
  auto step = [&] {
    at::Tensor loss;
    for (int64_t i = 0; i < plan.micro_batches; ++i) {
      MicroBatch batch{random_tokens(), random_tokens(), job.training.local_batch_size,
                       job.training.seq_len};
      loss = program.forward_backward(batch, inverse_valid, i + 1 == plan.micro_batches);
    }
    optimizer.step(1e-5, mesh.sum_over_data(loss));
    sharder.release_gradients();
  };

  for (int i = 0; i < 3; ++i) step();
  device.wait_sync();
  std::vector<double> seconds;
  for (int64_t i = 0; i < steps; ++i) {
    hosts->barrier();
    const double start = monotonic_seconds();
    step();
    device.wait_sync();
    seconds.push_back(monotonic_seconds() - start);
  }
  std::sort(seconds.begin(), seconds.end());

  StepTiming timing;
  timing.step_milliseconds = seconds[seconds.size() / 2] * 1e3;
  timing.tokens_per_second = static_cast<double>(plan.tokens_per_step) /
                             static_cast<double>(mesh.shape.tp) / seconds[seconds.size() / 2];
  int64_t peak_mib[] = {static_cast<int64_t>(memory.peaks().max_active_gib * 1024)};
  hosts->max_(peak_mib);
  timing.peak_gib = static_cast<double>(peak_mib[0]) / 1024;
  timing.planned_gib = static_cast<double>(plan.memory.peak.bytes) / (1ull << 30);

  const KernelTimes kernels = measure_kernels_sync(step);
  hosts->barrier();  // nobody writes into the memory of a rank that has ended
  std::map<std::string, double> by_part;
  for (const auto& [name, entry] : kernels.by_name) {
    by_part[part_of(name)] += entry.milliseconds;
    timing.kernels.emplace_back(name, entry.milliseconds);
  }
  std::sort(timing.kernels.begin(), timing.kernels.end(),
            [](const auto& a, const auto& b) { return a.second > b.second; });
  std::map<std::string, double> floor = step_floors(plan, job);
  for (const auto& [part, milliseconds] : by_part) {
    timing.parts.push_back({part, milliseconds, floor[part]});
  }
  std::sort(timing.parts.begin(), timing.parts.end(),
            [](const StepPart& a, const StepPart& b) { return a.milliseconds > b.milliseconds; });
  timing.parts.push_back({"idle", idle_milliseconds(kernels), 0});
  timing.communication = communication_time(kernels);
  return timing;
}

std::string describe(const StepTiming& timing) {
  char line[400];
  std::snprintf(
      line, sizeof line,
      "step %.1f ms, %.0f tok/s/GPU, peak %.2f GiB allocated (planned %.2f)\n%-16s %9s %9s %7s\n",
      timing.step_milliseconds, timing.tokens_per_second, timing.peak_gib, timing.planned_gib,
      "part", "ms", "floor ms", "share");
  std::string text = line;
  double sum = 0, floor = 0;
  for (const StepPart& part : timing.parts) {
    std::snprintf(line, sizeof line, "%-16s %9.2f %9.2f %6.1f%%\n", part.name.c_str(),
                  part.milliseconds, part.floor_milliseconds,
                  100 * part.milliseconds / timing.step_milliseconds);
    text += line;
    sum += part.milliseconds;
    floor += part.floor_milliseconds;
  }
  std::snprintf(line, sizeof line, "%-16s %9.2f %9.2f\n", "sum", sum, floor);
  text += line;
  if (timing.communication.milliseconds > 0) {
    std::snprintf(line, sizeof line, "exposed communication %.2f ms, %.1f%% of the step\n",
                  timing.communication.exposed_milliseconds,
                  100 * timing.communication.exposed_milliseconds / timing.step_milliseconds);
    text += line;
  }
  text += "longest kernels:\n";
  for (size_t i = 0; i < std::min<size_t>(timing.kernels.size(), 25); ++i) {
    std::snprintf(line, sizeof line, "%9.2f ms  %.110s\n", timing.kernels[i].second,
                  timing.kernels[i].first.c_str());
    text += line;
  }
  return text;
}

}  // namespace titan
