#include "lib/train/run_checkpoints.hpp"

#include <ATen/ATen.h>

#include <algorithm>
#include <cstdio>

#include "lib/base/error.hpp"
#include "lib/base/log.hpp"
#include "lib/checkpoint/hugging_face.hpp"
#include "lib/checkpoint/model_description.hpp"
#include "lib/config/dump.hpp"
#include "lib/train/describe_model.hpp"

namespace titan {
namespace {

Dtype stored_dtype(at::ScalarType dtype) {
  return dtype == at::kBFloat16 ? Dtype::kBfloat16 : Dtype::kFloat32;
}

// Fills `rows` (a part of a parameter, on any device) from the stored tensor `name`.
void read_into(const TensorSource& source, const std::string& name, at::Tensor rows) {
  at::Tensor host = rows.is_cpu() && rows.scalar_type() == at::kFloat
                        ? rows
                        : at::empty(rows.sizes(), at::TensorOptions().dtype(at::kFloat));
  const Box box{Shape(static_cast<size_t>(rows.dim()), 0), rows.sizes().vec()};
  read_as_float32(source, name, box,
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

// What weights of equal shapes do not show: refuses other heads, warns of other constants.
void compare_config(const std::string& path, const ModelDescription& theirs,
                    const ModelDescription& ours) {
  if (theirs.n_heads != ours.n_heads || theirs.n_kv_heads != ours.n_kv_heads) {
    throw InputError(concat(path, "/config.json: ", theirs.n_heads, " heads and ",
                            theirs.n_kv_heads, " key/value heads; the model to train has ",
                            ours.n_heads, " and ", ours.n_kv_heads));
  }
  const std::string rotary = rotary_text(theirs), wanted = rotary_text(ours);
  if (rotary != wanted) {
    log::warning(concat(path, "/config.json: rotary positions with ", rotary,
                        "; training goes on with ", wanted));
  }
  if (theirs.norm_eps != ours.norm_eps) {
    log::warning(concat(path, "/config.json: rms_norm_eps ", theirs.norm_eps,
                        "; training goes on with ", ours.norm_eps));
  }
}

// Reads the weights of a Hugging Face directory, with or without its config.json.
HuggingFaceReader open_hugging_face(const std::string& path, const ModelDescription& ours) {
  if (!std::filesystem::exists(std::filesystem::path(path) / "config.json")) return {path, ours};
  HuggingFaceReader reader(path);
  compare_config(path, reader.model(), ours);
  return reader;
}

}  // namespace

RunCheckpoints::RunCheckpoints(const JobConfig& job, const DecoderConfig& model, Sharder& sharder,
                               Optimizer& optimizer, const ops::Device& device)
    : job_(job), model_(model), sharder_(sharder), optimizer_(optimizer), copies_(device) {
  const config::Checkpoint& options = job.checkpoint;
  if (!options.enable) return;
  checkpointer_.emplace(
      Checkpointer::Config{.folder = std::filesystem::path(job.job.dump_folder) / options.folder,
                           .keep_latest_k = static_cast<int>(options.keep_latest_k),
                           .load_only = options.load_only});
}

RunCheckpoints::~RunCheckpoints() = default;

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
    for (size_t i = 0; i < parameter->members.size(); ++i) {
      const std::string& name = parameter->members[i].name;
      const Shape shape = parameter->member_rows(parameter->master, i).sizes().vec();
      expected[name] = {dtype, shape};
      expected_moments[name + ".exp_avg"] = {moment_dtype, shape};
      expected_moments[name + ".exp_avg_sq"] = {moment_dtype, shape};
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
    for (size_t i = 0; i < parameter->members.size(); ++i) {
      const std::string& name = parameter->members[i].name;
      if (with_model) read_into(model, name, parameter->member_rows(parameter->master, i));
      if (optimizer == nullptr) continue;
      read_into(*optimizer, name + ".exp_avg", parameter->member_rows(parameter->exp_avg, i));
      read_into(*optimizer, name + ".exp_avg_sq", parameter->member_rows(parameter->exp_avg_sq, i));
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
    log::warning(concat("checkpoint ", reader.directory().string(),
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
  }
  return resume;
}

void RunCheckpoints::load_initial(const std::string& path) {
  const config::Checkpoint& options = job_.checkpoint;
  if (options.initial_load_in_hf) {
    load_parameters(open_hugging_face(path, describe_model(model_)), nullptr);
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
      log::warning("checkpoint.initial_load_path is ignored: the run's own checkpoint was loaded");
    }
    last_saved_step_ = resume->step;
    log::info(concat("resumed from step ", resume->step, " (",
                     checkpointer_ ? job_.checkpoint.folder : "", ")"));
  } else if (has_initial) {
    load_initial(options.initial_load_path.value_or(job_.model.hf_assets_path));
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
  if (!in_background) return HostCopies::Kind::kInPlace;
  return job_.checkpoint.async_mode == config::AsyncMode::kAsyncWithPinnedMem
             ? HostCopies::Kind::kPinned
             : HostCopies::Kind::kCopied;
}

void RunCheckpoints::order_before_update() const { copies_.order_before_update(); }

std::string RunCheckpoints::non_finite_parameter_sync() const {
  std::vector<at::Tensor> finite;
  const std::vector<Parameter*> parameters = sharder_.parameters();
  for (const Parameter* parameter : parameters) {
    // The extremes are NaN where any value is, and infinite where the largest or smallest is.
    auto [low, high] = at::aminmax(parameter->master);
    finite.push_back(at::isfinite(low).logical_and(at::isfinite(high)));
  }
  const at::Tensor on_host = at::stack(finite).cpu();
  for (size_t i = 0; i < parameters.size(); ++i) {
    if (!on_host.const_data_ptr<bool>()[i]) return parameters[i]->members.front().name;
  }
  return "";
}

void RunCheckpoints::save_sync(Reason reason, const ResumeState& resume, uint64_t seed) {
  if (!due(reason, resume.step)) return;
  const config::Checkpoint& options = job_.checkpoint;
  const bool last = reason == Reason::kLast;
  const bool in_background =
      reason == Reason::kPeriodic && options.async_mode != config::AsyncMode::kDisabled;
  finish_sync();
  if (const std::string name = non_finite_parameter_sync(); !name.empty()) {
    log::error(concat("checkpoint of step ", resume.step, " NOT saved: ", name,
                      " holds values that are not finite; earlier checkpoints are untouched"));
    return;
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
  copies_.take(copy_kind(in_background), sharder_.parameters(), !snapshot.model_only);
  snapshot.model = copies_.model();
  snapshot.optimizer = copies_.moments();
  snapshot.wait_until_ready = [this] { copies_.wait_sync(); };
  snapshot.model_description = describe_model(model_).to_json();
  snapshot.state = {{"tokens_seen", resume.tokens_seen},
                    {"optimizer_updates", optimizer_.updates_sync()},
                    {"seed", seed},
                    {"data", resume.data},
                    {"config", nlohmann::ordered_json::parse(config::to_json(job_))}};
  if (in_background) {
    checkpointer_->start_save(std::move(snapshot));
  } else {
    checkpointer_->save(std::move(snapshot));
  }
  last_saved_step_ = resume.step;
}

void RunCheckpoints::report_finished() {
  if (!checkpointer_) return;
  checkpointer_->finished();
}

void RunCheckpoints::finish_sync() {
  if (!checkpointer_) return;
  checkpointer_->wait();
}

}  // namespace titan
