#include "lib/model/linear_timing.hpp"

#include <ATen/ATen.h>

#include <algorithm>
#include <chrono>
#include <memory>

#include "lib/float8/fused.hpp"
#include "lib/model/declare.hpp"
#include "lib/model/head.hpp"
#include "lib/model/pre_norm.hpp"
#include "lib/ops/rms_norm.hpp"
#include "lib/ops/swiglu.hpp"

#if TITAN_CUDA
#include <ATen/cuda/CUDAEvent.h>
#include <c10/cuda/CUDACachingAllocator.h>
#endif

namespace titan {
namespace {

using Place = LinearGroupKind::Place;

// Long runs vary less: after this many milliseconds there are no more repetitions than the fewest.
constexpr int kFewestRepetitions = 3, kMostRepetitions = 9;
constexpr double kMillisecondsOfRepetitions = 60;
// Read before every run: ten times the L2 of a Hopper GPU, and long enough (0.1 ms) for the host to
// be ahead of the device when the timed work starts.
constexpr int64_t kFlushBytes = int64_t{1} << 29;

double milliseconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start)
      .count();
}

double median(std::vector<double> values) {
  auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

// What the choices of a group share.
struct Operands {
  Operands(const ops::Device& device, const LinearGroupKind& kind, at::ScalarType dtype) {
    int64_t n = 0;
    for (const LinearGroupKind::Member& member : kind.members) n += member.n;
    const auto random = [&](int64_t width) {
      return at::randn({kind.m, width}, device.options(dtype));
    };
    x = random(kind.k);
    if (kind.place != Place::kGateUp) dy = random(n);
    const bool alone = kind.tp == 1;
    if (alone && (kind.place == Place::kWo || kind.place == Place::kDown)) residual = random(n);
    if (alone && kind.place == Place::kWo) rstd = at::ones({kind.m}, device.options(at::kFloat));
    if (kind.place == Place::kDown) gate_up = random(2 * kind.k);
    if (kind.place == Place::kGateUp) {
      gate_up = random(n);
      dhidden = random(n / 2);
      first_gate_up = gate_up.clone();
      first_dhidden = dhidden.clone();
    }
  }
  // What a run has written over.
  void restore() {
    if (!first_gate_up.defined()) return;
    gate_up.copy_(first_gate_up);
    dhidden.copy_(first_dhidden);
  }

  at::Tensor x, dy, residual;
  at::Tensor rstd;              // of the norm behind wo
  at::Tensor gate_up, dhidden;  // of the SwiGLU behind gate_up; gate_up is before down too
  at::Tensor first_gate_up, first_dhidden;
};

// The group with one choice of its members in float8, between the ops beside it.
class TimedGroup {
 public:
  TimedGroup(const ops::Device& device, const LinearGroupKind& kind, const Float8Members& float8,
             const LinearTimingConfig& config)
      : place_(kind.place),
        alone_(kind.tp == 1),
        context_{.device = device, .batch = 1, .seq_len = kind.m, .rope_table = {}},
        sharder_(declare(kind, float8, config.recipe), on_one_rank(config), device),
        norm_(kNorm, kLinear, kEps),
        accumulate_(place_ == Place::kOutput ||
                    (config.sharder.micro_batches > 1 && config.mesh.dp_shard == 1)) {
    sharder_.initialise(/*seed=*/1);
    gradients_ = sharder_.gradients(0);
  }

  void quantize_weights() {
    sharder_.parameters_updated();
    sharder_.weights(0);
  }

  void forward_backward(const Operands& operands) {
    const Weights& weights = sharder_.weights(0);
    LinearInput input = forward_input(weights, operands);
    const at::Tensor column_amax = input.copy.column_amax;
    linear_forward(context_, weights[kLinear], input, operands.residual);
    input = {};
    const LinearGradient gradient = output_gradient(weights, operands);
    const at::Tensor dx = linear_backward_input(context_, weights[kLinear], gradient);
    linear_backward_weight(context_, weights[kLinear], gradient,
                           backward_input(weights, operands, dx, column_amax), gradients_[kLinear],
                           gradients_.accumulate);
  }

  // The first micro-batch of a step stores its gradient: a plan that accumulates takes the
  // algorithm of the one that does not.
  void make_plans(const Operands& operands) {
    gradients_.accumulate = false;
    forward_backward(operands);
    gradients_.accumulate = accumulate_;
    forward_backward(operands);
  }

 private:
  enum Index : size_t { kNorm, kLinear };
  static constexpr double kEps = 1e-5;

  // What one rank does alike. Gathered weights are quantized from bf16, as one rank's are after a
  // step of one micro-batch; replicas add up gradients in fp32, as many micro-batches do.
  static SharderConfig on_one_rank(const LinearTimingConfig& config) {
    SharderConfig sharder = config.sharder;
    if (config.mesh.dp_shard > 1) {
      sharder.micro_batches = 1;
    } else if (config.mesh.dp_replicate > 1) {
      sharder.micro_batches = std::max<int64_t>(sharder.micro_batches, 2);
    }
    return sharder;
  }

  static std::vector<Unit> declare(const LinearGroupKind& kind, const Float8Members& float8,
                                   Float8Recipe recipe) {
    LinearGroup group;
    for (size_t i = 0; i < kind.members.size(); ++i) {
      LinearConfig& linear = group.members.emplace_back();
      linear.name = kind.members[i].name;
      linear.in_features = kind.k;
      linear.out_features = kind.members[i].n;
      linear.initializer = {.kind = ops::Initializer::Kind::kNormal, .mean = 0, .std = 0.02};
      if (float8[i]) linear.float8 = recipe;
    }
    const int64_t norm_dim = kind.place == Place::kWo ? group.out_features() : kind.k;
    return {{.name = kind.place == Place::kOutput ? "head" : "layers.0",
             .parameters = {declare_norm({.dim = norm_dim, .eps = kEps}, "norm"),
                            declare_linears(group, "")}}};
  }

  bool norm_before() const { return alone_ && (place_ == Place::kQkv || place_ == Place::kGateUp); }

  LinearInput forward_input(const Weights& weights, const Operands& operands) {
    const Weight& weight = weights[kLinear];
    if (norm_before()) return norm_.forward(weights, operands.x, saved_);
    if (place_ != Place::kDown) return linear_input(weight, operands.x);
    if (!reads_only_copies(weight)) return linear_input(weight, ops::swiglu(operands.gate_up));
    return {{},
            float8::swiglu(operands.gate_up, wgrad_reads_only_copies(weight)),
            operands.x.scalar_type()};
  }

  // The backward of the norm behind wo or of the SwiGLU behind gate_up makes it.
  LinearGradient output_gradient(const Weights& weights, const Operands& operands) {
    const Weight& weight = weights[kLinear];
    const bool copies = reads_only_copies(weight), amax = wgrad_reads_only_copies(weight);
    const at::Tensor& dy = operands.dy;
    if (alone_ && place_ == Place::kWo) {
      const at::Tensor& norm = weights[kNorm].compute;
      if (!copies) {
        return linear_gradient(
            weight, ops::rms_norm_backward(dy, operands.residual, norm, operands.rstd, dy,
                                           gradients_[kNorm], false, nullptr));
      }
      const float8::GradientCopy made = float8::rms_norm_backward(
          dy, operands.residual, norm, operands.rstd, dy, gradients_[kNorm], false, nullptr, amax);
      return linear_gradient(weight, made.dx, made.copy);
    }
    if (place_ == Place::kGateUp) {
      float8::RowCopy copy;
      if (copies) {
        copy = float8::swiglu_backward_(operands.dhidden, operands.gate_up,
                                        /*restore_h=*/false, amax);
      } else {
        ops::swiglu_backward_(operands.dhidden, operands.gate_up);
      }
      return linear_gradient(weight, operands.gate_up, copy);
    }
    return linear_gradient(weight, dy);
  }

  // The input again, for wgrad. Behind a bf16 `down` the SwiGLU's backward leaves it.
  WgradInput backward_input(const Weights& weights, const Operands& operands, const at::Tensor& dx,
                            const at::Tensor& column_amax) {
    const Weight& weight = weights[kLinear];
    if (norm_before()) {
      return norm_.backward(weights, gradients_, dx, operands.x, saved_, operands.x, nullptr).y;
    }
    if (place_ == Place::kDown && wgrad_reads_only_copies(weight)) {
      return {{}, float8::swiglu_columns(operands.gate_up, column_amax)};
    }
    return wgrad_input(weight, operands.x, column_amax);
  }

  Place place_;
  bool alone_;  // no tensor-parallel rank beside this one
  StepContext context_;
  Sharder sharder_;
  PreNorm norm_;
  PreNorm::Saved saved_;
  Gradients gradients_;
  bool accumulate_;
};

#if TITAN_CUDA
class Event {
 public:
  void record() { event_.record(); }
  double milliseconds_since(const Event& start) const { return start.event_.elapsed_time(event_); }

 private:
  at::cuda::CUDAEvent event_{cudaEventDefault};
};
#else
struct Event {
  void record() {}
  double milliseconds_since(const Event&) const { return 0; }
};
#endif

// Runs work again and again; the time of each run is known once the device has caught up.
class Stopwatch {
 public:
  explicit Stopwatch(const ops::Device& device) : on_device_(device.is_cuda()) {}

  template <class Work>
  void run(const Work& work) {
    Run& run = runs_.emplace_back();
    if (on_device_) run.start.record();
    const auto host_start = std::chrono::steady_clock::now();
    work();
    run.host_milliseconds = milliseconds_since(host_start);
    if (on_device_) run.stop.record();
  }
  double milliseconds_after_sync() const {
    std::vector<double> device, host;
    for (const Run& run : runs_) {
      device.push_back(on_device_ ? run.stop.milliseconds_since(run.start) : 0);
      host.push_back(run.host_milliseconds);
    }
    return std::max(median(device), median(host));
  }

 private:
  struct Run {
    Event start, stop;
    double host_milliseconds = 0;
  };
  bool on_device_;
  std::vector<Run> runs_;
};

}  // namespace

std::vector<double> time_linear_group_sync(const ops::Device& device, const LinearGroupKind& whole,
                                           const std::vector<Float8Members>& choices,
                                           const LinearTimingConfig& config) {
  LinearGroupKind kind = whole;  // the part of a micro-batch that runs at a time
  if (kind.place == Place::kOutput) kind.m = std::min(kind.m, Head::kChunkRows);
  // Micro-batches that a weight's float8 copies serve.
  const double sharing =
      config.mesh.dp_shard > 1 ? 1 : static_cast<double>(config.sharder.micro_batches);
  const double parts = static_cast<double>(whole.m) / static_cast<double>(kind.m);
  Operands operands(device, kind, config.sharder.compute_dtype);
  at::Tensor cache_filler;
  if (device.is_cuda()) cache_filler = at::ones({kFlushBytes / 4}, device.options(at::kFloat));
  const auto flush = [&] {
    if (cache_filler.defined()) cache_filler.sum();
  };
  std::vector<std::unique_ptr<TimedGroup>> groups;
  std::vector<Stopwatch> step, quantize;  // by group
  for (const Float8Members& float8 : choices) {
    groups.push_back(std::make_unique<TimedGroup>(device, kind, float8, config));
    operands.restore();
    groups.back()->make_plans(operands);
    step.emplace_back(device);
    quantize.emplace_back(device);
  }
  const auto start = std::chrono::steady_clock::now();
  for (int repetition = 0; repetition < kMostRepetitions; ++repetition) {
    if (repetition >= kFewestRepetitions &&
        milliseconds_since(start) > kMillisecondsOfRepetitions) {
      break;
    }
    for (size_t i = 0; i < groups.size(); ++i) {
      flush();
      quantize[i].run([&] { groups[i]->quantize_weights(); });
      operands.restore();
      flush();
      step[i].run([&] { groups[i]->forward_backward(operands); });
    }
    device.wait_sync();  // a full launch queue would be taken for a slow host
  }
  std::vector<double> milliseconds;
  for (size_t i = 0; i < groups.size(); ++i) {
    milliseconds.push_back(parts * step[i].milliseconds_after_sync() +
                           quantize[i].milliseconds_after_sync() / sharing);
  }
  return milliseconds;
}

void release_timing_memory() {
#if TITAN_CUDA
  if (at::hasCUDA()) c10::cuda::CUDACachingAllocator::emptyCache();
#endif
}

}  // namespace titan
