#include "lib/train/from_job.hpp"

#include <charconv>

#include "lib/base/error.hpp"
#include "lib/base/shipped.hpp"
#include "lib/config/check.hpp"
#include "lib/model/registry.hpp"

namespace titan {
namespace {

at::ScalarType scalar_type(config::Dtype dtype) {
  return dtype == config::Dtype::kBfloat16 ? at::kBFloat16 : at::kFloat;
}

// Every how many blocks one is recomputed: selective_ac_option as upstream, "0" meaning all.
int64_t selective_interval(const std::string& option) {
  int64_t interval = -1;
  auto [end, status] = std::from_chars(option.data(), option.data() + option.size(), interval);
  if (status != std::errc() || end != option.data() + option.size() || interval < 0) {
    throw InputError(
        concat("activation_checkpoint.selective_ac_option: expected \"op\" or a whole "
               "number such as \"2\", got \"",
               option, "\""));
  }
  return interval == 0 ? 1 : interval;
}

void apply_recompute(const config::ActivationCheckpoint& option, DecoderConfig& model) {
  using Mode = config::ActivationCheckpointMode;
  for (size_t layer = 0; layer < model.layers.size(); ++layer) {
    Recompute& recompute = model.layers[layer].recompute;
    if (option.mode == Mode::kFull) {
      recompute = Recompute::kBlock;
    } else if (option.mode == Mode::kSelective && option.selective_ac_option == "op") {
      recompute = Recompute::kGateUp;
    } else if (option.mode == Mode::kSelective) {
      // Upstream counts blocks from 1 and wraps those that the interval divides.
      bool wrapped = (layer + 1) % selective_interval(option.selective_ac_option) == 0;
      recompute = wrapped ? Recompute::kBlock : Recompute::kNothing;
    }
  }
}

// Every rank of a tensor-parallel group holds whole heads, and equal parts of the rest.
void check_tensor_parallel(const DecoderConfig& model, int64_t tp) {
  std::string odd;
  const auto check = [&](int64_t count, const char* what) {
    if (count % tp != 0) odd += concat(odd.empty() ? "" : ", ", count, " ", what);
  };
  const AttentionConfig& attention = model.layers.front().attention;
  check(attention.heads, "heads");
  check(attention.kv_heads, "key/value heads");
  check(model.layers.front().feed_forward.hidden, "feed-forward channels");
  check(model.embedding.vocab_size, "vocabulary entries");
  if (odd.empty()) return;
  throw InputError(concat("parallelism.tensor_parallel_degree: ", tp, " does not divide what ",
                          model.name, " ", model.flavor, " has: ", odd,
                          "; choose a degree that divides them"));
}

std::unique_ptr<Converter> converter(const std::string& name, const JobConfig& job,
                                     const MeshShape& mesh, const MeasureGroup& measure) {
  if (name != "quantize.linear.float8") {
    throw InputError(concat("model.converters: unknown converter \"", name,
                            "\"; the one that is supported is quantize.linear.float8 (float8)"));
  }
  const config::LinearFloat8& options = job.quantize.linear.float8;
  return float8_linear_converter({.recipe = float8_recipe(job),
                                  .filter_fqns = options.filter_fqns,
                                  .emulate = options.emulate,
                                  .tokens = job.training.local_batch_size * job.training.seq_len,
                                  .tp = mesh.tp,
                                  .measure = measure});
}

DataConfig data_config(const JobConfig& job, const DecoderConfig& model) {
  DataConfig data;
  data.token_dtype = job.training.token_dtype == config::TokenDtype::kUint32 ? TokenDtype::uint32
                                                                             : TokenDtype::uint16;
  data.data_order = job.training.data_order == config::DataOrder::kPerRank ? DataOrder::per_rank
                                                                           : DataOrder::global;
  data.token_cache = job.training.token_cache;
  data.vocab_size = model.embedding.vocab_size;
  data.tokenizer_path = job.model.hf_assets_path;
  return data;
}

int64_t prefetch_batches(const config::DataLoader& loader) {
  return loader.prefetch_factor.value_or(2) * std::max<int64_t>(loader.num_workers, 1);
}

}  // namespace

MeshShape mesh_shape(const JobConfig& job, int64_t world_size) {
  const config::Degrees degrees = config::degrees(job, world_size);
  return {degrees.dp_replicate, degrees.dp_shard, degrees.tp};
}

DecoderConfig decoder_config(const JobConfig& job, const MeshShape& mesh,
                             std::vector<ConversionReport>* reports, const MeasureGroup& measure) {
  DecoderConfig model = registry(job.model.name, job.model.flavor,
                                 {.n_layers = job.model.n_layers,
                                  .vocab_size = job.model.vocab_size,
                                  .seq_len = job.training.seq_len});
  check_tensor_parallel(model, mesh.tp);
  apply_recompute(job.activation_checkpoint, model);
  for (const std::string& name : job.model.converters) {
    ConversionReport report = converter(name, job, mesh, measure)->convert(model);
    if (reports != nullptr) reports->push_back(std::move(report));
  }
  return model;
}

Float8Recipe float8_recipe(const JobConfig& job) {
  return job.quantize.linear.float8.recipe_name == config::Float8Recipe::kRowwiseWithGwHp
             ? Float8Recipe::kRowwiseWithGwHp
             : Float8Recipe::kRowwise;
}

SharderConfig sharder_config(const JobConfig& job, const MeshShape& mesh) {
  return {.parameter_dtype = scalar_type(job.training.dtype),
          .bfloat16_moments = job.optimizer.state_dtype == config::Dtype::kBfloat16,
          .compute_dtype = scalar_type(job.training.mixed_precision_param),
          .micro_batches = config::gradient_accumulation_steps(job, mesh.data_ranks()),
          // "default" is upstream's rule: not with pipeline parallelism, which is not there yet.
          .reshard_after_forward =
              job.parallelism.fsdp_reshard_after_forward != config::ReshardAfterForward::kNever};
}

optim::Schedule schedule(const JobConfig& job) {
  optim::Schedule schedule;
  schedule.total_steps = job.lr_scheduler.total_steps.value_or(job.training.steps);
  schedule.warmup_steps = job.lr_scheduler.warmup_steps;
  schedule.decay_ratio = job.lr_scheduler.decay_ratio;
  switch (job.lr_scheduler.decay_type) {
    case config::DecayType::kLinear:
      schedule.decay = optim::Decay::kLinear;
      break;
    case config::DecayType::kSqrt:
      schedule.decay = optim::Decay::kSqrt;
      break;
    case config::DecayType::kCosine:
      schedule.decay = optim::Decay::kCosine;
      break;
  }
  schedule.min_factor = job.lr_scheduler.min_lr_factor;
  return schedule;
}

DataConfig training_data_config(const JobConfig& job, const DecoderConfig& model) {
  DataConfig data = data_config(job, model);
  data.dataset = job.training.dataset;
  data.dataset_path = job.training.dataset_path;
  data.seq_len = job.training.seq_len;
  data.local_batch_size = job.training.local_batch_size;
  data.prefetch_batches = prefetch_batches(job.training.dataloader);
  data.shipped_corpus = find_shipped("assets/corpus");
  return data;
}

DataConfig validation_data_config(const JobConfig& job, const DecoderConfig& model) {
  DataConfig data = data_config(job, model);
  data.dataset = job.validation.dataset;
  data.dataset_path = job.validation.dataset_path;
  data.seq_len = job.validation.seq_len;
  data.local_batch_size = job.validation.local_batch_size;
  data.endless = job.validation.steps != -1;
  data.prefetch_batches = prefetch_batches(job.validation.dataloader);
  data.shipped_corpus = find_shipped("assets/corpus_validation");
  data.section = "validation";
  data.data_order = DataOrder::global;  // the same held-out batches at every validation
  return data;
}

OptimizerConfig optimizer_config(const JobConfig& job) {
  return {.decoupled_weight_decay = job.optimizer.name == config::OptimizerName::kAdamW,
          .beta1 = job.optimizer.beta1,
          .beta2 = job.optimizer.beta2,
          .eps = job.optimizer.eps,
          .weight_decay = job.optimizer.weight_decay,
          .max_norm = job.training.max_norm};
}

MetricsLogger::Config metrics_config(const JobConfig& job, int rank) {
  return {.dump_folder = job.job.dump_folder,
          .enable_tensorboard = job.metrics.enable_tensorboard,
          .save_tb_folder = job.metrics.save_tb_folder,
          .disable_color_printing = job.metrics.disable_color_printing,
          .log_freq = job.metrics.log_freq,
          .rank = rank,
          .save_for_all_ranks = job.metrics.save_for_all_ranks};
}

Profiler::Config profiler_config(const JobConfig& job, bool cuda, int rank) {
  const std::filesystem::path dump_folder = job.job.dump_folder;
  return {.enable = job.profiling.enable_profiling,
          .folder = dump_folder / job.profiling.save_traces_folder,
          .freq = job.profiling.profile_freq,
          .active = job.profiling.profiler_active,
          .warmup = job.profiling.profiler_warmup,
          .rank = rank,
          .cuda = cuda};
}

MemorySnapshots::Config snapshot_config(const JobConfig& job, int cuda_device, int rank) {
  const std::filesystem::path dump_folder = job.job.dump_folder;
  return {.enable = job.profiling.enable_memory_snapshot,
          .folder = dump_folder / job.profiling.save_memory_snapshot_folder,
          .freq = job.profiling.profile_freq,
          .rank = rank,
          .cuda_device = cuda_device};
}

FlopsInputs flops_inputs(const DecoderConfig& model, int64_t seq_len) {
  const ParameterCount count = count_parameters(model);
  const AttentionConfig& attention = model.layers.front().attention;
  return {.parameters = count.total,
          .embedding_parameters = count.embedding,
          .layers = static_cast<int64_t>(model.layers.size()),
          .heads = attention.heads,
          .head_dims = 2 * attention.head_dim,
          .seq_len = seq_len};
}

}  // namespace titan
