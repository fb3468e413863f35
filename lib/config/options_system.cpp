// The options that say how the work is laid out, kept and saved: [parallelism] to [experimental].
#include "lib/config/option_macro.hpp"
#include "lib/config/option_tables.hpp"

namespace titan::config {

using enum Support;

namespace {

// Far above any machine; low enough that products of degrees and batches cannot overflow.
constexpr double kMaxDegree = 1024, kMaxDataDegree = 65536;

bool checkpoints(const JobConfig& job, std::int64_t) { return job.checkpoint.enable; }

}  // namespace

std::vector<Option> parallelism_options() {
  return {
      OPTION(parallelism.data_parallel_replicate_degree, support::kManyRanks,
             "Replicas of the (possibly sharded) weights: HSDP, or DDP where there is one shard.")
          .between(1, kMaxDataDegree),
      OPTION(parallelism.data_parallel_shard_degree, support::kManyRanks,
             "Ranks that weights are sharded over (FSDP); -1: all that the other degrees leave.")
          .between(-1, kMaxDataDegree),
      OPTION(parallelism.fsdp_reshard_after_forward, support::kManyRanks,
             "Whether weights are gathered again for backward. `default`: those of the blocks and "
             "the embedding; no effect on one shard."),
      OPTION(parallelism.tensor_parallel_degree, support::kManyRanks,
             "Ranks that each linear is split over, with sequence parallel.")
          .between(1, kMaxDegree),
      OPTION(parallelism.disable_loss_parallel, support::kManyRanks,
             "Gather the logits instead of a vocabulary-parallel loss; needs tensor parallel."),
      OPTION(parallelism.enable_async_tensor_parallel, support::kManyRanks,
             "Hide tensor-parallel communication behind matmuls; needs tensor parallel."),
      OPTION(parallelism.pipeline_parallel_degree, support::kPipelineParallel,
             "Ranks that the layers are spread over.")
          .between(1, kMaxDegree),
      OPTION(parallelism.module_fqns_per_model_part, support::kPipelineParallel,
             "The modules of each pipeline stage.")
          .only_with("parallelism.pipeline_parallel_degree"),
      OPTION(parallelism.pipeline_parallel_first_stage_less_layers, support::kPipelineParallel,
             "Layers that the first stage does without, for the embedding.")
          .at_least(0)
          .only_with("parallelism.pipeline_parallel_degree"),
      OPTION(parallelism.pipeline_parallel_last_stage_less_layers, support::kPipelineParallel,
             "Layers that the last stage does without, for the output.")
          .at_least(0)
          .only_with("parallelism.pipeline_parallel_degree"),
      OPTION(parallelism.pipeline_parallel_layers_per_stage, support::kPipelineParallel,
             "Layers per pipeline stage.")
          .at_least(1)
          .only_with("parallelism.pipeline_parallel_degree"),
      OPTION(parallelism.pipeline_parallel_schedule, support::kPipelineParallel,
             "Pipeline schedule, such as `1F1B` or `Interleaved1F1B`; no effect at degree 1.")
          .only_with("parallelism.pipeline_parallel_degree"),
      OPTION(parallelism.pipeline_parallel_schedule_csv, support::kPipelineParallel,
             "File with a pipeline schedule.")
          .only_with("parallelism.pipeline_parallel_degree"),
      OPTION(parallelism.pipeline_parallel_microbatch_size, support::kPipelineParallel,
             "Sequences per pipeline micro-batch.")
          .at_least(1)
          .only_with("parallelism.pipeline_parallel_degree"),
      OPTION(parallelism.pipeline_parallel_expert_parallel_overlap, kIgnored,
             "Overlap of expert-parallel and pipeline communication."),
      OPTION(parallelism.context_parallel_degree, support::kContextParallel,
             "Ranks that each sequence is split over.")
          .between(1, kMaxDegree),
      OPTION(parallelism.context_parallel_load_balancer, support::kContextParallel,
             "How a causal sequence is split evenly.")
          .one_of({"headtail", "ptrr"})
          .only_with("parallelism.context_parallel_degree"),
      OPTION(parallelism.context_parallel_rotate_method, support::kContextParallel,
             "How keys and values are exchanged.")
          .only_with("parallelism.context_parallel_degree"),
      OPTION(parallelism.expert_parallel_degree, support::kExpertParallel,
             "Ranks that the experts are spread over.")
          .between(1, kMaxDegree),
      OPTION(parallelism.expert_tensor_parallel_degree, support::kExpertParallel,
             "Ranks that each expert is split over; no effect without expert parallel.")
          .between(1, kMaxDegree)
          .only_with("parallelism.expert_parallel_degree"),
      OPTION(parallelism.expert_parallel_comm_backend, kRefused,
             "Exchange of tokens between experts' ranks."),
  };
}

std::vector<Option> checkpoint_options() {
  return {
      OPTION(checkpoint.enable, kCore, "Save and load checkpoints.")
          .formerly({"checkpoint.enable_checkpoint"}),
      OPTION(checkpoint.enable_ft_dataloader_checkpoints, kIgnored, "Part of TorchFT."),
      OPTION(checkpoint.folder, kCore, "Folder of the `step-N` folders, in the dump folder."),
      OPTION(checkpoint.interval, kCore, "Steps between saves.").at_least(1),
      OPTION(checkpoint.initial_load_path, kCore,
             "Checkpoint or Hugging Face folder to start from while there is none of our own."),
      OPTION(checkpoint.initial_load_model_only, kCore, "Take only the weights from there.")
          .formerly({"checkpoint.initial_load_model_weights_only"}),
      OPTION(checkpoint.initial_load_in_hf, kCore,
             "It is a Hugging Face folder; without a path, `model.hf_assets_path`."),
      OPTION(checkpoint.initial_load_in_hf_quantized, support::kQuantizedHfLoad,
             "Its weights are float8 in blocks.")
          .when(checkpoints),
      OPTION(checkpoint.last_save_model_only, kCore, "The last save holds only the weights.")
          .formerly({"checkpoint.last_save_model_weights_only"}),
      OPTION(checkpoint.last_save_in_hf, kCore, "The last save is a Hugging Face folder."),
      OPTION(checkpoint.export_dtype, kCore, "Type of the weights in a last, weights-only save."),
      OPTION(checkpoint.async_mode, kCore, "Whether training goes on while files are written."),
      OPTION(checkpoint.keep_latest_k, kCore, "Checkpoints to keep, at least 2; 0: all.")
          .at_least(0),
      OPTION(checkpoint.load_step, kCore, "Step to load; -1: the newest complete one.")
          .at_least(-1),
      OPTION(checkpoint.exclude_from_loading, kCore, "Parts of the state not to load.")
          .one_of({"model", "optimizer", "lr_scheduler", "dataloader", "train_state"}),
      OPTION(checkpoint.enable_first_step_checkpoint, kCore, "Also save after step 1."),
      OPTION(checkpoint.create_seed_checkpoint, support::kSeedCheckpoint,
             "Initialise, save as step 0 and end."),
      OPTION(checkpoint.load_only, kCore, "Never save."),
  };
}

std::vector<Option> activation_checkpoint_options() {
  return {
      OPTION(activation_checkpoint.mode, kCore,
             "What backward computes again: nothing, chosen operations or layers, or all.")
          .limit(
              support::kMemoryBudget, "`memory_budget`",
              [](const JobConfig& job, std::int64_t) {
                return job.activation_checkpoint.mode == ActivationCheckpointMode::kMemoryBudget;
              },
              "set it to none, selective or full"),
      OPTION(activation_checkpoint.selective_ac_option, kCore,
             "`op`: by operation; a number n: every n-th layer."),
      OPTION(activation_checkpoint.per_op_sac_force_recompute_mm_shapes_by_fqns, kCore,
             "`op`: linears whose matmuls are always computed again."),
      OPTION(activation_checkpoint.early_stop, kIgnored, "Knob of torch.utils.checkpoint."),
      OPTION(activation_checkpoint.memory_budget, kIgnored, "Knob of torch.compile."),
      OPTION(activation_checkpoint.visualize_memory_budget_pareto, kIgnored,
             "Knob of torch.compile."),
      OPTION(activation_checkpoint.preserve_rng_state, kIgnored,
             "Knob of torch.utils.checkpoint; there is no dropout."),
      OPTION(activation_checkpoint.determinism_check, kIgnored, "Knob of torch.utils.checkpoint."),
      OPTION(activation_checkpoint.debug, kIgnored, "Knob of torch.utils.checkpoint."),
  };
}

std::vector<Option> compile_options() {
  return {
      OPTION(compile.enable, support::kCompiler, "Fused kernels are always on; nothing compiles.")
          .formerly({"training.compile"}),
      OPTION(compile.components, support::kCompiler, "What would be compiled.")
          .one_of({"model", "loss"}),
      OPTION(compile.backend, support::kCompiler, "The compiler."),
  };
}

std::vector<Option> comm_options() {
  return {
      OPTION(comm.init_timeout_seconds, kCore, "Limit of a collective until step 1 is done.")
          .at_least(1),
      OPTION(comm.train_timeout_seconds, kCore, "Limit of a collective afterwards.").at_least(1),
      OPTION(comm.trace_buf_size, kCore, "Entries of the flight recorder; 0: none.").at_least(0),
      OPTION(comm.save_traces_folder, kCore,
             "Folder of the flight recorder's dumps, in the dump folder."),
      OPTION(comm.save_traces_file_prefix, kCore, "What their names start with."),
      OPTION(comm.mode, kCore, "How ranks talk to each other.")
          .limit(
              support::kFakeBackend, "`fake_backend`",
              [](const JobConfig& job, std::int64_t) {
                return job.comm.mode == CommMode::kFakeBackend;
              },
              "set it to default; --dry_run plans a job without running it")
          .limit(
              support::kPythonOnly, "`local_tensor`",
              [](const JobConfig& job, std::int64_t) {
                return job.comm.mode == CommMode::kLocalTensor;
              },
              "set it to default"),
  };
}

std::vector<Option> foreign_options() {
  return {
      OPTION(memory_estimation.enable, support::kPythonOnly, "torchtitan's estimate of memory.")
          .formerly({"memory_estimation.enabled"})
          .instead("use --dry_run, which prints the memory that a job needs"),
      OPTION(memory_estimation.disable_fake_mode, kIgnored, "Part of it."),
      OPTION(fault_tolerance.enable, support::kTorchFt, "Replica groups of TorchFT."),
      OPTION(fault_tolerance.process_group, kIgnored, "Part of TorchFT."),
      OPTION(fault_tolerance.process_group_timeout_ms, kIgnored, "Part of TorchFT."),
      OPTION(fault_tolerance.replica_id, kIgnored, "Part of TorchFT."),
      OPTION(fault_tolerance.group_size, kIgnored, "Part of TorchFT."),
      OPTION(fault_tolerance.min_replica_size, kIgnored, "Part of TorchFT."),
      OPTION(fault_tolerance.semi_sync_method, kIgnored, "Part of TorchFT."),
      OPTION(experimental.custom_import, support::kPythonOnly, "A Python module to import."),
  };
}

}  // namespace titan::config
