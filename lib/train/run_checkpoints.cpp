#include "lib/train/run_checkpoints.hpp"

#include <ATen/ATen.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <exception>
#include <thread>

#include "lib/base/error.hpp"
#include "lib/base/log.hpp"
#include "lib/checkpoint/hugging_face.hpp"
#include "lib/checkpoint/model_description.hpp"
#include "lib/config/dump.hpp"
#include "lib/parallel/agree.hpp"
#include "lib/parallel/host_memory.hpp"
#include "lib/train/data_state.hpp"
#include "lib/train/describe_model.hpp"

namespace titan {
namespace {

// How long ranks wait for the one whose files take longest.
constexpr std::chrono::minutes kSlowestRank(30);

std::filesystem::path folder_of(const JobConfig& job) {
  return std::filesystem::path(job.job.dump_folder) / job.checkpoint.folder;
}

Dtype stored_dtype(at::ScalarType dtype) {
  return dtype == at::kBFloat16 ? Dtype::kBfloat16 : Dtype::kFloat32;
}

// Fills `rows` (a piece of a parameter, on any device) from its place in the stored tensor `name`.
void read_into(const TensorSource& source, const std::string& name, const ShardPiece& piece,
               at::Tensor rows) {
  at::Tensor host = rows.is_cpu() && rows.scalar_type() == at::kFloat
                        ? rows
                        : at::empty(rows.sizes(), at::TensorOptions().dtype(at::kFloat));
  read_as_float32(source, name, {piece.offset, piece.shape},
                  {host.mutable_data_ptr<float>(), static_cast<size_t>(host.numel())});
  if (!host.is_same(rows)) rows.copy_(host);
}

// Moments of the other dtype are converted, to nearest, as torch.optim's load_state_dict does.
void log_conversion(const TensorTable& stored, Dtype wanted) {
  if (stored.empty() || stored.begin()->second.dtype == wanted) return;
  log::info(concat("the checkpoint's optimizer state is ",
                   safetensors_name(stored.begin()->second.dtype), ", converted to ",
                   safetensors_name(wanted)));
}

std::string rotary_text(const ModelDescription& model) {
  if (!model.rope_scaling) return concat("theta ", model.rope_theta, ", not scaled");
  const RopeScaling& scaling = *model.rope_scaling;
  return concat("theta ", model.rope_theta, ", scaled by ", scaling.factor, " (",
                scaling.low_freq_factor, ", ", scaling.high_freq_factor, ", ",
                scaling.original_max_position_embeddings, ")");
}

// What weights of equal shapes do not show: refuses other heads, returns warnings of other
// constants.
std::vector<std::string> compare_config(const std::string& path, const ModelDescription& theirs,
                                        const ModelDescription& ours) {
  if (theirs.n_heads != ours.n_heads || theirs.n_kv_heads != ours.n_kv_heads) {
    throw InputError(concat(path, "/config.json: ", theirs.n_heads, " heads and ",
                            theirs.n_kv_heads, " key/value heads; the model to train has ",
                            ours.n_heads, " and ", ours.n_kv_heads));
  }
  std::vector<std::string> warnings;
  const std::string rotary = rotary_text(theirs), wanted = rotary_text(ours);
  if (rotary != wanted) {
    warnings.push_back(concat(path, "/config.json: rotary positions with ", rotary,
                              "; training goes on with ", wanted));
  }
  if (theirs.norm_eps != ours.norm_eps) {
    warnings.push_back(concat(path, "/config.json: rms_norm_eps ", theirs.norm_eps,
                              "; training goes on with ", ours.norm_eps));
  }
  return warnings;
}

}  // namespace

RunCheckpoints::RunCheckpoints(const JobConfig& job, const DecoderConfig& model, Sharder& sharder,
                               Optimizer& optimizer, const ops::Device& device, World& world)
    : job_(job),
      model_(model),
      sharder_(sharder),
      optimizer_(optimizer),
      world_(world),
      copies_(std::make_unique<HostCopies>(device)) {
  const config::Checkpoint& options = job.checkpoint;
  if (!options.enable) return;
  group_ = world.host_group("checkpoint");
  checkpointer_ = std::make_unique<Checkpointer>(
      Checkpointer::Config{.folder = folder_of(job),
                           .keep_latest_k = static_cast<int>(options.keep_latest_k),
                           .load_only = options.load_only},
      FileSystem::posix(), world.host_group("saving", kSlowestRank));
  if (!options.load_only && options.async_mode == config::AsyncMode::kAsyncWithPinnedMem) {
    reserve_pinned_memory();
  }
}

void RunCheckpoints::reserve_pinned_memory() {
  // More threads are no faster, and the ranks of a host share its cores.
  constexpr int64_t kMostThreads = 8;
  const int64_t ranks =
      require_host_memory(*group_, static_cast<int64_t>(HostCopies::pinned_bytes(sharder_)),
                          HostMemory::here(), "checkpoint.async_mode = \"async_with_pinned_mem\"");
  const int64_t cores = std::thread::hardware_concurrency();
  on_all_ranks(*group_, [&] {
    copies_->reserve_pinned(sharder_, std::clamp<int64_t>(cores / ranks, 1, kMostThreads));
    return std::string();
  });
}

void RunCheckpoints::lock_filled_memory() {
  if (!copies_->has_pinned() || memory_is_locked_) return;
  int64_t unfilled[] = {copies_->pinned_is_filled() ? 0 : 1};
  group_->max_(unfilled);
  if (unfilled[0] != 0) return;
  const auto begin = std::chrono::steady_clock::now();
  on_all_ranks(*group_, [&] {
    copies_->lock_pinned_sync();
    return std::string();
  });
  memory_is_locked_ = true;
  const std::chrono::duration<double> waited = std::chrono::steady_clock::now() - begin;
  char text[100];
  std::snprintf(text, sizeof text, "Host memory for checkpoints is ready: %.2f GiB, waited %.2f s",
                static_cast<double>(HostCopies::pinned_bytes(sharder_)) / (1ll << 30),
                waited.count());
  log::info(text);
}

void RunCheckpoints::warn(const std::string& message) const {
  if (group_->rank() == 0) log::warning(message);
}

RunCheckpoints::~RunCheckpoints() {
  if (checkpointer_ == nullptr || std::uncaught_exceptions() == 0 || world_.size() == 1) return;
  using Clock = std::chrono::steady_clock;
  const auto limit = Clock::now() + std::chrono::seconds(job_.comm.train_timeout_seconds);
  while (checkpointer_->is_saving() && Clock::now() < limit) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  if (!checkpointer_->is_saving()) return;
  // Its thread cannot be ended; the process is about to be.
  (void)checkpointer_.release();
  (void)copies_.release();
}

bool RunCheckpoints::excluded(const char* what) const {
  const auto& list = job_.checkpoint.exclude_from_loading;
  return std::find(list.begin(), list.end(), what) != list.end();
}

// ---- Loading ----

void RunCheckpoints::load_parameters(const TensorSource& model, const TensorSource* optimizer) {
  const Dtype moment_dtype = stored_dtype(sharder_.config().moment_dtype());
  TensorTable expected, expected_moments;
  for (const Parameter* parameter : sharder_.parameters()) {
    const Dtype dtype = stored_dtype(parameter->master.scalar_type());
    for (const ParameterMember& member : parameter->members) {
      expected[member.name] = {dtype, member.global_shape};
      expected_moments[member.name + ".exp_avg"] = {moment_dtype, member.global_shape};
      expected_moments[member.name + ".exp_avg_sq"] = {moment_dtype, member.global_shape};
    }
  }
  const bool with_model = !excluded("model");
  if (with_model) {
    require_tensors(expected, model.tensors(), false, "the checkpoint is of another model");
  }
  if (optimizer != nullptr) {
    require_tensors(expected_moments, optimizer->tensors(), false,
                    "the checkpoint's optimizer state is of another model");
    log_conversion(optimizer->tensors(), moment_dtype);
  }
  for (Parameter* parameter : sharder_.parameters()) {
    for (const ShardPiece& piece : parameter->pieces()) {
      const std::string& name = parameter->members[piece.member].name;
      auto read = [&](const TensorSource& source, const std::string& stored, const at::Tensor& to) {
        read_into(source, stored, piece, piece.of(to));
      };
      if (with_model) read(model, name, parameter->master);
      if (optimizer == nullptr) continue;
      read(*optimizer, name + ".exp_avg", parameter->exp_avg);
      read(*optimizer, name + ".exp_avg_sq", parameter->exp_avg_sq);
    }
  }
  sharder_.refresh_compute();
}

ResumeState RunCheckpoints::load_own(const CheckpointReader& reader) {
  const Manifest& manifest = reader.manifest();
  const bool with_optimizer = !manifest.model_only && manifest.step > 0 && !excluded("optimizer");
  load_parameters(reader.model(), with_optimizer ? &reader.optimizer() : nullptr);
  ResumeState resume;
  if (manifest.step == 0) return resume;  // a seed checkpoint: the weights only
  if (manifest.model_only) {
    warn(concat("checkpoint ", reader.directory().string(),
                " holds the model only: the optimizer starts fresh"));
  }
  if (with_optimizer) optimizer_.set_updates(manifest.state.value("optimizer_updates", int64_t{0}));
  if (!excluded("train_state")) {
    resume.step = manifest.step;
    resume.tokens_seen = manifest.state.value("tokens_seen", int64_t{0});
    if (manifest.state.contains("seed")) resume.seed = manifest.state["seed"].get<uint64_t>();
  }
  if (!excluded("dataloader") && manifest.state.contains("data")) {
    resume.data = manifest.state["data"];
  } else if (!manifest.model_only) {
    warn(concat("the place in the data is not taken from ", reader.directory().string(),
                ": the data begins anew"));
  }
  return resume;
}

// A directory with or without config.json.
void RunCheckpoints::load_hugging_face(const std::string& path) {
  const ModelDescription ours = describe_model(model_);
  const bool described = std::filesystem::exists(std::filesystem::path(path) / "config.json");
  const HuggingFaceReader reader =
      described ? HuggingFaceReader(path) : HuggingFaceReader(path, ours);
  if (described) {
    for (const std::string& text : compare_config(path, reader.model(), ours)) warn(text);
  }
  if (reader.output_is_embedding()) warn(std::string(kTiedWarning));
  load_parameters(reader, nullptr);
}

void RunCheckpoints::load_initial(const std::string& path) {
  const config::Checkpoint& options = job_.checkpoint;
  if (!std::filesystem::is_directory(path)) {
    throw InputError(
        concat(options.initial_load_path ? "checkpoint.initial_load_path" : "model.hf_assets_path",
               " = \"", path, "\" is not a folder: expected ",
               options.initial_load_in_hf ? "one with a Hugging Face model"
                                          : "the step-N of a checkpoint"));
  }
  if (options.initial_load_in_hf) {
    load_hugging_face(path);
    log::info(concat("initial weights: Hugging Face model ", path));
    return;
  }
  CheckpointReader reader(path);
  const bool with_optimizer = !options.initial_load_model_only && !reader.manifest().model_only;
  load_parameters(reader.model(), with_optimizer ? &reader.optimizer() : nullptr);
  if (with_optimizer) {
    optimizer_.set_updates(reader.manifest().state.value("optimizer_updates", int64_t{0}));
  }
  log::info(concat("initial weights: checkpoint ", path));
}

std::optional<ResumeState> RunCheckpoints::load() {
  const config::Checkpoint& options = job_.checkpoint;
  if (!checkpointer_) return std::nullopt;
  std::optional<ResumeState> resume;
  auto load_it = [&](const CheckpointReader& reader) { resume = load_own(reader); };
  if (options.load_step >= 0) {
    checkpointer_->load_step(options.load_step, load_it);
  } else {
    checkpointer_->load_latest(load_it);
  }
  const bool has_initial = options.initial_load_path.has_value() || options.initial_load_in_hf;
  if (resume) {
    if (has_initial) {
      warn("checkpoint.initial_load_path is ignored: the run's own checkpoint was loaded");
    }
    last_saved_step_ = resume->step;
    log::info(concat("resumed from step ", resume->step, " in ", folder_of(job_).string()));
  } else if (has_initial) {
    on_all_ranks(*world_.host_group("initial_load", kSlowestRank), [&] {
      load_initial(options.initial_load_path.value_or(job_.model.hf_assets_path));
      return std::string();
    });
  }
  return resume;
}

// ---- Saving ----

bool RunCheckpoints::due(Reason reason, int64_t step) const {
  const config::Checkpoint& options = job_.checkpoint;
  if (!checkpointer_ || options.load_only || step == 0 || last_saved_step_ == step) return false;
  if (reason != Reason::kPeriodic) return true;
  return step % options.interval == 0 || (step == 1 && options.enable_first_step_checkpoint);
}

HostCopies::Kind RunCheckpoints::copy_kind(bool in_background) const {
  if (copies_->has_pinned()) return HostCopies::Kind::kPinned;
  return in_background ? HostCopies::Kind::kCopied : HostCopies::Kind::kInPlace;
}

void RunCheckpoints::order_before_update() const { copies_->order_before_update(); }

std::string RunCheckpoints::non_finite_parameter_sync() {
  std::vector<at::Tensor> finite;
  std::vector<const Parameter*> parameters;
  for (const Parameter* parameter : sharder_.parameters()) {
    if (parameter->shard.count == 0) continue;
    // The extremes are NaN where any value is, and infinite where the largest or smallest is.
    auto [low, high] = at::aminmax(parameter->master);
    finite.push_back(at::isfinite(low).logical_and(at::isfinite(high)));
    parameters.push_back(parameter);
  }
  std::string mine;
  const at::Tensor on_host = finite.empty() ? at::Tensor() : at::stack(finite).cpu();
  for (size_t i = 0; i < parameters.size() && mine.empty(); ++i) {
    if (!on_host.const_data_ptr<bool>()[i]) mine = parameters[i]->members.front().name;
  }
  for (const std::string& name : group_->exchange(mine)) {
    if (!name.empty()) return name;
  }
  return "";
}

std::string RunCheckpoints::save_sync(Reason reason, const ResumeState& resume, uint64_t seed) {
  if (!due(reason, resume.step)) return "";
  const config::Checkpoint& options = job_.checkpoint;
  const bool last = reason == Reason::kLast;
  const bool in_background =
      reason == Reason::kPeriodic && options.async_mode != config::AsyncMode::kDisabled;
  finish_sync();
  if (const std::string name = non_finite_parameter_sync(); !name.empty()) {
    const std::string why = concat(name, " holds values that are not finite");
    if (group_->rank() == 0) {
      log::error(concat("checkpoint of step ", resume.step, " NOT saved: ", why,
                        "; earlier checkpoints are untouched"));
    }
    return why;
  }

  Snapshot snapshot;
  snapshot.step = resume.step;
  snapshot.model_only = last && options.last_save_model_only;
  snapshot.in_hugging_face = last && options.last_save_in_hf;
  if (snapshot.in_hugging_face) snapshot.model_only = true;
  if (snapshot.model_only) snapshot.export_dtype = dtype_from_option(word(options.export_dtype));
  // A job on token files may have no tokenizer to hand on.
  if (std::filesystem::exists(job_.model.hf_assets_path)) {
    snapshot.tokenizer_folder = job_.model.hf_assets_path;
  }
  copies_->take(copy_kind(in_background), sharder_, !snapshot.model_only);
  snapshot.model = copies_->model();
  snapshot.optimizer = copies_->moments();
  snapshot.wait_until_ready = [copies = copies_.get()] { copies->wait_sync(); };
  snapshot.model_description = describe_model(model_).to_json();
  snapshot.state = {{"tokens_seen", resume.tokens_seen},
                    {"optimizer_updates", optimizer_.updates_sync()},
                    {"seed", seed},
                    {"data", merge_data_states(group_->exchange(resume.data.dump()))},
                    {"config", nlohmann::ordered_json::parse(config::to_json(job_))}};
  last_saved_step_ = resume.step;
  if (in_background) {
    checkpointer_->start_save(std::move(snapshot));
    return "";
  }
  const SaveOutcome outcome = checkpointer_->save(std::move(snapshot));
  note({outcome});
  return outcome.error;
}

void RunCheckpoints::note(const std::vector<SaveOutcome>& outcomes) {
  for (const SaveOutcome& outcome : outcomes) {
    if (!outcome.ok() && last_saved_step_ == outcome.step) last_saved_step_.reset();
  }
}

void RunCheckpoints::report_finished() {
  if (checkpointer_) note(checkpointer_->finished());
}

void RunCheckpoints::finish_sync() {
  if (checkpointer_) note(checkpointer_->wait());
}

}  // namespace titan
