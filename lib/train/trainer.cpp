#include "lib/train/trainer.hpp"

#include <ATen/ATen.h>
#include <c10/util/Exception.h>

#include <cmath>
#include <cstdio>
#include <random>

#include "lib/base/error.hpp"
#include "lib/base/file.hpp"
#include "lib/base/log.hpp"
#include "lib/config/compare.hpp"
#include "lib/float8/matmul.hpp"
#include "lib/metrics/flops.hpp"
#include "lib/metrics/memory.hpp"
#include "lib/metrics/memory_snapshot.hpp"
#include "lib/metrics/metrics_logger.hpp"
#include "lib/metrics/profiler.hpp"
#include "lib/ops/matmul_plans.hpp"
#include "lib/optim/optimizer.hpp"
#include "lib/parallel/agree.hpp"
#include "lib/parallel/peer_memory.hpp"
#include "lib/train/dump_folder.hpp"
#include "lib/train/float8_measurements.hpp"
#include "lib/train/from_job.hpp"
#include "lib/train/report.hpp"
#include "lib/train/run_checkpoints.hpp"
#include "lib/train/signals.hpp"
#include "lib/train/step_results.hpp"
#include "lib/train/validator.hpp"

namespace titan {
namespace {

constexpr int kNonFiniteLimit = 10;

// The same on all ranks.
uint64_t seed_of(const JobConfig& job, HostGroup& hosts) {
  if (job.debug.seed) return static_cast<uint64_t>(*job.debug.seed);
  std::random_device random;
  return std::stoull(
      hosts.broadcast(std::to_string((static_cast<uint64_t>(random()) << 32) | random())));
}

void apply_determinism(const JobConfig& job, const ops::Device& device) {
  if (!job.debug.deterministic) return;
  at::globalContext().setDeterministicAlgorithms(true, job.debug.deterministic_warn_only);
  at::globalContext().setDeterministicCuDNN(true);
  if (!device.is_cuda()) return;
  device.matmul_plans().set_deterministic_choice(true);
  log::warning(
      "debug.deterministic: on the GPU the losses of equal runs have been seen to differ by about "
      "1e-5; on the CPU runs repeat bit for bit");
}

// Every host may have files of its own under the same name.
void require_equal_data(const DataLoader& loader, const DataConfig& config, HostGroup& hosts) {
  const std::string differences =
      config::list_differences(hosts.exchange(loader.fingerprint().dump()));
  if (differences.empty()) return;
  throw InputError(
      concat("the ranks read different ", config.section,
             " data; give every host the same files, or a folder that all share:", differences));
}

std::unique_ptr<DataLoader> open_data(const JobConfig& job, const DataConfig& data,
                                      std::optional<int64_t> global_batch, HostGroup& hosts) {
  // Pre-tokenised files need no tokenizer; whether there is one is the loader's question.
  const bool has_tokenizer = std::filesystem::exists(job.model.hf_assets_path);
  std::shared_ptr<const Tokenizer> tokenizer;
  if (has_tokenizer) tokenizer = load_tokenizer(job.model.hf_assets_path);
  auto loader = DataLoader::open(data, std::move(tokenizer), global_batch);
  require_equal_data(*loader, data, hosts);
  return loader;
}

// The plan, for which auto_filter_measured may time linears on the device.
JobPlan plan_on(const ops::Device& device, const JobConfig& job, const MeshShape& mesh,
                Float8Measurements& measurements) {
  apply_determinism(job, device);  // before the first matmul plan is tuned
  JobPlan plan = plan_job(job, mesh, measurements.measurer());
  measurements.finish();
  if (job.debug.deterministic && measurements.timed() > 0) {
    log::warning(
        concat("debug.deterministic: auto_filter_measured has chosen by the clock; a run "
               "chooses the same with ",
               measurements.file().string(), " in its dump folder"));
  }
  return plan;
}

// The part of the data that this rank sees.
DataConfig on_rank(DataConfig data, const Mesh& mesh) {
  data.rank = mesh.data_rank();
  data.world_size = mesh.shape.data_ranks();
  return data;
}

int cuda_index(const ops::Device& device) {
  return device.is_cuda() ? device.torch().index() : kNoCudaDevice;
}

}  // namespace

// Members in the order in which they are built: each may use those above it.
struct Trainer::State {
  State(const JobConfig& job, ops::Device device_, World& world);

  ThroughputMeter::Config meter_config() const {
    return {.flops_per_token = static_cast<double>(plan.flops_per_token),
            .peak_flops = peak_flops(device.name()),
            .non_data_parallel_size = mesh.shape.tp};
  }
  bool writes_files() const { return world.rank() == 0; }
  // The signal for which all ranks stop now, or 0.
  int agreed_signal();
  void run();
  void save_conversion_report() const;
  void train_step(int64_t step, GlobalBatch& batch);
  void look_at_results(const std::vector<StepResult>& results);
  void log_step(int64_t step);
  void validate(int64_t step);
  std::string save(RunCheckpoints::Reason reason);  // why it failed, or ""
  void warn(const std::string& message) const;      // on rank 0, of what all ranks know

  const JobConfig& job;
  ops::Device device;
  World& world;
  std::unique_ptr<HostGroup> hosts;
  Mesh mesh;
  uint64_t seed;
  Float8Measurements measurements;
  JobPlan plan;
  const DecoderConfig& model;
  Decoder decoder;
  Sharder sharder;
  Optimizer optimizer;
  Step step_program;  // may share memory with other ranks: does not end while checkpoints are saved
  RunCheckpoints checkpoints;
  ThroughputMeter meter;
  std::unique_ptr<DataLoader> loader;
  BatchFeed feed;
  std::optional<Validator> validator;
  MemoryMonitor memory;
  // These write files: made last, when nothing can be wrong with the job any more.
  std::optional<MetricsLogger> metrics;
  std::optional<Profiler> profiler;
  std::optional<MemorySnapshots> snapshots;
  StepResults results;
  optim::Schedule schedule;

  int64_t completed_steps = 0;
  int64_t tokens_seen = 0;
  double learning_rate = 0;
  int non_finite_in_a_row = 0;
  StepResult latest;
  StepResult stop;  // the first result that came with a signal
  std::optional<StopSignals> signals;
  bool started = false;
};

Trainer::State::State(const JobConfig& job_, ops::Device device_, World& world_)
    : job(job_),
      device(std::move(device_)),
      world(world_),
      hosts(world.host_group("trainer")),
      mesh(make_mesh(mesh_shape(job, world.size()), world)),
      seed(seed_of(job, *hosts)),
      measurements(job, device, mesh.shape, *hosts),
      plan(plan_on(device, job, mesh.shape, measurements)),
      model(plan.model),
      decoder(build(model)),
      sharder(declare_units(model, {mesh.tp.rank(), mesh.tp.size()}),
              sharder_config(job, mesh.shape), device, mesh),
      optimizer(optimizer_config(job), sharder, device),
      step_program(decoder, model, sharder, device, !job.parallelism.disable_loss_parallel),
      checkpoints(job, model, sharder, optimizer, device, world),
      meter(meter_config()),
      loader(open_data(job, on_rank(training_data_config(job, model), mesh),
                       plan.micro_batches * job.training.local_batch_size * mesh.shape.data_ranks(),
                       *hosts)),
      feed(*loader, device, mesh, job.training.local_batch_size, job.training.seq_len, &meter),
      memory(cuda_index(device)),
      results(device),
      schedule(titan::schedule(job)) {
  log_model(job, plan, device.name(), memory.capacity_line());
  if (mesh.shape.dp_shard > 1) log::info(sharder.describe_exchange());
  sharder.initialise(seed);
  if (std::optional<ResumeState> resume = checkpoints.load()) {
    completed_steps = resume->step;
    tokens_seen = resume->tokens_seen;
    meter = ThroughputMeter(meter_config(), completed_steps);
    if (!resume->data.is_null()) loader->restore(resume->data);
    if (resume->seed && !job.debug.seed) seed = *resume->seed;  // goes on as the run began
  }
  optimizer.set_seed(seed);
  if (!job.debug.seed) log::info(concat("debug.seed is not set: the run's seed is ", seed));
  log::info(loader->describe());
  if (job.parallelism.enable_async_tensor_parallel && mesh.shape.tp > 1) {
    std::vector<int64_t> tokens = {job.training.local_batch_size * job.training.seq_len};
    if (job.validation.enable) {
      tokens.push_back(job.validation.local_batch_size * job.validation.seq_len);
    }
    const std::string why_not = step_program.use_async_tensor_parallel(tokens);
    if (!why_not.empty()) {
      warn(concat("parallelism.enable_async_tensor_parallel: ", why_not,
                  ": plain tensor parallel runs"));
    }
  }
  memory.count_outside_allocator(PeerMemory::allocated());
  if (job.validation.enable) {
    const DataConfig data = on_rank(validation_data_config(job, model), mesh);
    validator.emplace(open_data(job, data, std::nullopt, *hosts), data, job.validation.steps,
                      step_program, device, mesh);
  }
  on_first_rank(*hosts, [&] {
    make_dump_folder(job);
    return std::string();
  });
  metrics.emplace(metrics_config(job, static_cast<int>(world.rank())));
  if (!plan.conversions.empty() && writes_files()) save_conversion_report();
  if (writes_files()) measurements.save();
  const int rank = static_cast<int>(world.rank());
  profiler.emplace(profiler_config(job, device.is_cuda(), rank), completed_steps);
  snapshots.emplace(snapshot_config(job, cuda_index(device), rank), completed_steps);
}

void Trainer::State::save_conversion_report() const {
  const auto path = std::filesystem::path(job.job.dump_folder) / "conversion_report.json";
  try {
    write_file_atomically(path, to_json(plan.conversions).dump(2) + "\n");
  } catch (const Error& error) {  // as of a checkpoint: the run goes on
    log::warning(concat(path.string(), " was not written: ", error.what()));
  }
}

// ---- The loop ----

int Trainer::State::agreed_signal() {
  if (world.size() == 1) return signals->received();
  // Every rank waits for the step before the last one, and so knows what all knew then; the device
  // has the last step to go on with.
  look_at_results(results.up_to_sync(completed_steps - 1));
  return stop.stop_signal != 0 && stop.step < completed_steps ? stop.stop_signal : 0;
}

void Trainer::State::run() {
  signals.emplace();
  const int64_t first_step = completed_steps + 1;
  const int64_t float8_matmuls_before = float8::matmuls_executed();  // of auto_filter_measured
  log_training_start(job, plan, completed_steps);
  GlobalBatch batch;
  int stop_signal = 0;
  while (completed_steps < job.training.steps && (stop_signal = agreed_signal()) == 0) {
    if (!feed.next(plan.micro_batches, batch)) {
      warn(concat("the training data ended after step ", completed_steps));
      break;
    }
    started = true;
    train_step(completed_steps + 1, batch);
    ++completed_steps;
    tokens_seen += batch.tokens * mesh.shape.data_ranks();
    if (world.size() > 1 && completed_steps == first_step) {
      device.wait_sync();
      hosts->barrier();  // nobody is waited for in the first step any more
      world.set_timeout(std::chrono::seconds(job.comm.train_timeout_seconds));
    }

    look_at_results(results.arrived());
    if (metrics->should_log(completed_steps)) log_step(completed_steps);
    if (validator && (completed_steps == 1 || completed_steps % job.validation.freq == 0)) {
      validate(completed_steps);
    }
    profiler->step(completed_steps);
    snapshots->step(completed_steps);
    checkpoints.lock_filled_memory();
    checkpoints.report_finished();
    if (completed_steps < job.training.steps) {
      save(RunCheckpoints::Reason::kPeriodic);
    }
  }
  look_at_results(results.all_sync());
  if (stop_signal != 0) {
    warn(concat("signal ", stop_signal, " received: stopping after step ", completed_steps));
    if (!job.checkpoint.enable) warn("nothing was saved: checkpoint.enable is off");
  }
  checkpoints.finish_sync();
  const std::string not_saved =
      save(stop_signal != 0 ? RunCheckpoints::Reason::kSignal : RunCheckpoints::Reason::kLast);
  device.wait_sync();
  hosts->barrier();  // nobody writes into the memory of a rank that has ended
  if (!plan.conversions.empty()) {
    log::info(
        concat("float8 matmuls executed: ", float8::matmuls_executed() - float8_matmuls_before));
  }
  if (!not_saved.empty()) {
    throw Error(concat("training ended after step ", completed_steps,
                       ", but its checkpoint was not saved: ", not_saved));
  }
  log::info("Training completed");
}

void Trainer::State::train_step(int64_t step, GlobalBatch& batch) {
  at::Tensor own_loss;  // this rank's part of the whole mesh's loss
  for (const MicroBatch& micro_batch : batch.micro_batches) {
    const bool last = &micro_batch == &batch.micro_batches.back();
    at::Tensor part = step_program.forward_backward(micro_batch, batch.inverse_valid_tokens, last);
    own_loss = own_loss.defined() ? own_loss + part : part;
  }
  const at::Tensor loss = mesh.sum_over_data(own_loss);
  const double own_tokens = static_cast<double>(std::max<int64_t>(batch.valid_tokens, 1));
  const at::Tensor maxima =
      mesh.max_over_all(at::stack({(own_loss * batch.all_valid_tokens / own_tokens).to(at::kFloat),
                                   at::full({}, signals->received(), device.options(at::kFloat))}));
  learning_rate = job.optimizer.lr * optim::learning_rate_factor(schedule, step - 1);
  checkpoints.order_before_update();
  optimizer.step(learning_rate, loss);
  sharder.release_gradients();
  results.push(step, {loss, maxima[0], optimizer.grad_norm(), optimizer.skipped(), maxima[1]});
}

void Trainer::State::look_at_results(const std::vector<StepResult>& arrived) {
  for (const StepResult& result : arrived) {
    latest = result;
    if (result.stop_signal != 0 && stop.stop_signal == 0) stop = result;
    if (!result.update_skipped) {
      non_finite_in_a_row = 0;
      continue;
    }
    warn(concat("step ", result.step, ": loss ", result.loss, ", gradient norm ", result.grad_norm,
                " is not finite: the update was skipped"));
    if (++non_finite_in_a_row == kNonFiniteLimit) {
      throw Error(concat(kNonFiniteLimit, " steps in a row (", result.step - kNonFiniteLimit + 1,
                         " to ", result.step,
                         ") had a non-finite loss or gradient norm; lower optimizer.lr, lengthen "
                         "lr_scheduler.warmup_steps, or look at the data around there"));
    }
  }
}

void Trainer::State::log_step(int64_t step) {
  look_at_results(results.all_sync());
  StepMetrics values;
  values.step = step;
  values.global_avg_loss = latest.loss;
  values.global_max_loss = latest.max_loss;
  values.grad_norm = latest.grad_norm;
  values.update_skipped = latest.update_skipped;
  values.lr = learning_rate;
  values.n_tokens_seen = tokens_seen;
  values.throughput = meter.read(step);
  values.memory = memory.peaks();
  memory.reset_peaks();
  metrics->log_step(values);
}

void Trainer::State::validate(int64_t step) {
  ValidationResult result = validator->run_sync();
  metrics->log_validation({.step = step,
                           .loss = result.loss,
                           .tps = static_cast<double>(result.tokens) / result.seconds,
                           .memory = memory.peaks()});
  memory.reset_peaks();
  meter.read(step);  // the training interval starts afresh
}

std::string Trainer::State::save(RunCheckpoints::Reason reason) {
  if (!checkpoints.due(reason, completed_steps)) return "";
  return checkpoints.save_sync(reason, {completed_steps, tokens_seen, loader->state()}, seed);
}

void Trainer::State::warn(const std::string& message) const {
  if (world.rank() == 0) log::warning(message);
}

Trainer::Trainer(const JobConfig& job, ops::Device device, World& world)
    : state_(std::make_unique<State>(job, std::move(device), world)) {}
Trainer::~Trainer() = default;

void Trainer::run() {
  try {
    state_->run();
  } catch (const c10::OutOfMemoryError&) {
    const double gib = 1ull << 30;
    char text[400];
    std::snprintf(
        text, sizeof text,
        "out of GPU memory: the plan expected a peak of %.1f GiB (%s) on a device of %.1f GiB; "
        "lower training.local_batch_size or training.seq_len, or set "
        "activation_checkpoint.mode to \"selective\" with selective_ac_option \"op\", or "
        "to \"full\"",
        static_cast<double>(state_->plan.memory.peak.bytes) / gib,
        state_->plan.memory.peak.name.c_str(),
        static_cast<double>(state_->memory.capacity()) / gib);
    throw Error(text);
  }
}

bool Trainer::started() const { return state_->started; }

}  // namespace titan
