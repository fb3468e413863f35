// JobConfig: one whole job as plain aggregates, a struct per TOML section of torchtitan v0.2.2,
// members named exactly as the TOML keys, defaults on the line. What each option means, its range,
// its support and its older names stand in options_training.cpp and options_system.cpp, and in
// docs/options.md, which is generated from them. std::optional members read and print None.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace titan::config {

using Strings = std::vector<std::string>;

// Closed sets of words that code switches on. kWords<E>[value] is the word of a value.
template <class E>
inline constexpr auto kWords = nullptr;

// The word of an enum value, as it is written in a job file.
template <class E>
constexpr std::string_view word(E value) {
  return kWords<E>[static_cast<std::size_t>(value)];
}

enum class Dtype { kFloat32, kBfloat16, kFloat16 };
template <>
inline constexpr auto kWords<Dtype> = std::to_array<std::string_view>({"float32", "bfloat16",
                                                                       "float16"});

enum class OptimizerName { kAdam, kAdamW };
template <>
inline constexpr auto kWords<OptimizerName> = std::to_array<std::string_view>({"Adam", "AdamW"});

enum class OptimizerImplementation { kForLoop, kForeach, kFused };
template <>
inline constexpr auto kWords<OptimizerImplementation> =
    std::to_array<std::string_view>({"for-loop", "foreach", "fused"});

enum class DecayType { kLinear, kSqrt, kCosine };
template <>
inline constexpr auto kWords<DecayType> = std::to_array<std::string_view>({"linear", "sqrt",
                                                                           "cosine"});

enum class TokenDtype { kUint16, kUint32 };
template <>
inline constexpr auto kWords<TokenDtype> = std::to_array<std::string_view>({"uint16", "uint32"});

enum class DataOrder { kGlobal, kPerRank };
template <>
inline constexpr auto kWords<DataOrder> = std::to_array<std::string_view>({"global", "per_rank"});

enum class ReshardAfterForward { kDefault, kAlways, kNever };
template <>
inline constexpr auto kWords<ReshardAfterForward> =
    std::to_array<std::string_view>({"default", "always", "never"});

enum class RotateMethod { kAllGather, kAllToAll };
template <>
inline constexpr auto kWords<RotateMethod> = std::to_array<std::string_view>({"allgather",
                                                                              "alltoall"});

enum class ExpertCommBackend { kStandard, kDeepEp };
template <>
inline constexpr auto kWords<ExpertCommBackend> = std::to_array<std::string_view>({"standard",
                                                                                   "deepep"});

enum class AsyncMode { kDisabled, kAsync, kAsyncWithPinnedMem };
template <>
inline constexpr auto kWords<AsyncMode> =
    std::to_array<std::string_view>({"disabled", "async", "async_with_pinned_mem"});

enum class ActivationCheckpointMode { kSelective, kFull, kMemoryBudget, kNone };
template <>
inline constexpr auto kWords<ActivationCheckpointMode> =
    std::to_array<std::string_view>({"selective", "full", "memory_budget", "none"});

enum class Float8Recipe { kTensorwise, kRowwise, kRowwiseWithGwHp };
template <>
inline constexpr auto kWords<Float8Recipe> =
    std::to_array<std::string_view>({"tensorwise", "rowwise", "rowwise_with_gw_hp"});

enum class CommMode { kDefault, kFakeBackend, kLocalTensor };
template <>
inline constexpr auto kWords<CommMode> = std::to_array<std::string_view>({"default", "fake_backend",
                                                                          "local_tensor"});

struct Job {
  std::optional<std::string> config_file;
  std::string dump_folder = "./outputs";
  std::string description = "default job";
  bool print_config = false;
  std::optional<std::string> save_config_file;
  std::string custom_config_module;
};

struct Profiling {
  bool enable_profiling = false;
  std::string save_traces_folder = "profile_traces";
  std::int64_t profile_freq = 10;
  std::int64_t profiler_active = 1;
  std::int64_t profiler_warmup = 3;
  bool enable_memory_snapshot = false;
  std::string save_memory_snapshot_folder = "memory_snapshot";
};

struct Metrics {
  std::int64_t log_freq = 10;
  bool enable_tensorboard = false;
  bool disable_color_printing = false;
  std::string save_tb_folder = "tb";
  bool save_for_all_ranks = false;
  bool enable_wandb = false;
};

struct Model {
  std::string name = "llama3";
  std::string flavor = "debugmodel";
  std::string hf_assets_path = "./tests/assets/tokenizer";
  Strings converters;
  bool print_after_conversion = false;
  std::int64_t n_layers = 0;
  std::int64_t vocab_size = 0;
};

struct Optimizer {
  OptimizerName name = OptimizerName::kAdamW;
  double lr = 8e-4;
  double beta1 = 0.9;
  double beta2 = 0.95;
  double eps = 1e-8;
  double weight_decay = 0.1;
  OptimizerImplementation implementation = OptimizerImplementation::kFused;
  bool early_step_in_backward = false;
  Dtype state_dtype = Dtype::kFloat32;
};

struct LrScheduler {
  std::int64_t warmup_steps = 200;
  std::optional<std::int64_t> total_steps;
  std::optional<double> decay_ratio;
  DecayType decay_type = DecayType::kLinear;
  double min_lr_factor = 0.0;
};

struct DataLoader {
  std::int64_t num_workers = 0;
  bool persistent_workers = false;
  bool pin_memory = false;
  std::optional<std::int64_t> prefetch_factor;
};

struct Training {
  std::string dataset = "c4_test";
  std::optional<std::string> dataset_path;
  std::int64_t local_batch_size = 8;
  std::int64_t global_batch_size = -1;
  std::int64_t seq_len = 2048;
  double max_norm = 1.0;
  std::int64_t steps = 10000;
  bool enable_cpu_offload = false;
  Dtype dtype = Dtype::kFloat32;
  Dtype mixed_precision_param = Dtype::kBfloat16;
  Dtype mixed_precision_reduce = Dtype::kFloat32;
  std::int64_t gc_freq = 50;
  bool gc_debug = false;
  TokenDtype token_dtype = TokenDtype::kUint16;
  std::string token_cache;
  DataOrder data_order = DataOrder::kGlobal;
  DataLoader dataloader;
};

struct Parallelism {
  std::int64_t data_parallel_replicate_degree = 1;
  std::int64_t data_parallel_shard_degree = -1;
  ReshardAfterForward fsdp_reshard_after_forward = ReshardAfterForward::kDefault;
  std::int64_t tensor_parallel_degree = 1;
  bool disable_loss_parallel = false;
  bool enable_async_tensor_parallel = false;
  std::int64_t pipeline_parallel_degree = 1;
  std::optional<std::vector<Strings>> module_fqns_per_model_part;
  std::int64_t pipeline_parallel_first_stage_less_layers = 1;
  std::int64_t pipeline_parallel_last_stage_less_layers = 1;
  std::optional<std::int64_t> pipeline_parallel_layers_per_stage;
  std::string pipeline_parallel_schedule = "1F1B";
  std::optional<std::string> pipeline_parallel_schedule_csv = "";
  std::int64_t pipeline_parallel_microbatch_size = 1;
  bool pipeline_parallel_expert_parallel_overlap = true;
  std::int64_t context_parallel_degree = 1;
  std::optional<std::string> context_parallel_load_balancer = "headtail";
  RotateMethod context_parallel_rotate_method = RotateMethod::kAllGather;
  std::int64_t expert_parallel_degree = 1;
  std::int64_t expert_tensor_parallel_degree = 1;
  ExpertCommBackend expert_parallel_comm_backend = ExpertCommBackend::kStandard;
};

struct Checkpoint {
  bool enable = false;
  bool enable_ft_dataloader_checkpoints = true;
  std::string folder = "checkpoint";
  std::int64_t interval = 500;
  std::optional<std::string> initial_load_path;
  bool initial_load_model_only = true;
  bool initial_load_in_hf = false;
  bool initial_load_in_hf_quantized = false;
  bool last_save_model_only = true;
  bool last_save_in_hf = false;
  Dtype export_dtype = Dtype::kFloat32;
  AsyncMode async_mode = AsyncMode::kDisabled;
  std::int64_t keep_latest_k = 10;
  std::int64_t load_step = -1;
  Strings exclude_from_loading;
  bool enable_first_step_checkpoint = false;
  bool create_seed_checkpoint = false;
  bool load_only = false;
};

struct ActivationCheckpoint {
  ActivationCheckpointMode mode = ActivationCheckpointMode::kSelective;
  std::string selective_ac_option = "2";
  Strings per_op_sac_force_recompute_mm_shapes_by_fqns = {"moe.router.gate"};
  bool early_stop = false;
  double memory_budget = 0.5;
  bool visualize_memory_budget_pareto = false;
  bool preserve_rng_state = true;
  std::string determinism_check = "default";
  bool debug = false;
};

struct Compile {
  bool enable = false;
  Strings components = {"model", "loss"};
  std::string backend = "inductor";
};

struct LinearFloat8 {
  std::optional<Float8Recipe> recipe_name;
  Strings filter_fqns;
  bool emulate = false;
  bool enable_fsdp_float8_all_gather = false;
  bool precompute_float8_dynamic_scale_for_fsdp = false;
};

struct LinearMx {
  std::string mxfp8_dim1_cast_kernel_choice = "triton";
  std::string recipe_name = "mxfp8_cublas";
  Strings filter_fqns = {"output"};
};

struct GroupedMmFloat8 {
  Strings fqns;
};

struct GroupedMmMx {
  std::string recipe_name = "mxfp8";
  Strings fqns;
};

struct QuantizeLinear {
  LinearFloat8 float8;
  LinearMx mx;
};

struct QuantizeGroupedMm {
  GroupedMmFloat8 float8;
  GroupedMmMx mx;
};

struct Quantize {
  QuantizeLinear linear;
  QuantizeGroupedMm grouped_mm;
};

struct Comm {
  std::int64_t init_timeout_seconds = 300;
  std::int64_t train_timeout_seconds = 100;
  std::int64_t trace_buf_size = 20000;
  std::string save_traces_folder = "comm_traces";
  std::string save_traces_file_prefix = "rank_";
  CommMode mode = CommMode::kDefault;
};

struct MemoryEstimation {
  bool enable = false;
  bool disable_fake_mode = false;
};

struct FaultTolerance {
  bool enable = false;
  std::string process_group = "gloo";
  std::int64_t process_group_timeout_ms = 10000;
  std::int64_t replica_id = 0;
  std::int64_t group_size = 0;
  std::int64_t min_replica_size = 1;
  std::optional<std::string> semi_sync_method;
};

struct Experimental {
  std::string custom_import;
};

struct Validation {
  bool enable = false;
  std::string dataset = "c4_validation";
  std::optional<std::string> dataset_path;
  std::int64_t local_batch_size = 8;
  std::int64_t seq_len = 2048;
  std::int64_t freq = 10;
  std::int64_t steps = -1;
  DataLoader dataloader;
};

struct Debug {
  std::optional<std::int64_t> seed;
  bool deterministic = false;
  bool deterministic_warn_only = false;
  bool moe_force_load_balance = false;
};

struct JobConfig {
  Job job;
  Profiling profiling;
  Metrics metrics;
  Model model;
  Optimizer optimizer;
  LrScheduler lr_scheduler;
  Training training;
  Parallelism parallelism;
  Checkpoint checkpoint;
  ActivationCheckpoint activation_checkpoint;
  Compile compile;
  Quantize quantize;
  Comm comm;
  MemoryEstimation memory_estimation;
  FaultTolerance fault_tolerance;
  Experimental experimental;
  Validation validation;
  Debug debug;
};

}  // namespace titan::config

namespace titan {
using config::JobConfig;
}
