// The options that say what is trained, on what, and how: [job] to [training], [validation],
// [debug].
#include "lib/config/option_macro.hpp"
#include "lib/config/option_tables.hpp"

namespace titan::config {

using enum Support;

namespace {

// Far above any job; low enough that tokens per step cannot overflow.
constexpr double kMaxBatch = 1 << 20, kMaxSequence = 1 << 28, kMaxModel = 1 << 28;

bool many_ranks(const JobConfig&, std::int64_t world_size) { return world_size > 1; }

}  // namespace

std::vector<Option> job_options() {
  return {
      OPTION(job.config_file, kCore, "The job file to read; the first argument does the same."),
      OPTION(job.dump_folder, kCore, "Folder under which everything is written."),
      OPTION(job.description, kCore, "What this job is, for the log."),
      OPTION(job.print_config, kCore, "Log the final configuration as JSON, then go on.")
          .formerly({"job.print_args"}),
      OPTION(job.save_config_file, kCore, "Write that JSON to this file of the dump folder."),
      OPTION(job.custom_config_module, support::kPythonOnly,
             "A Python module that extends the options.")
          .formerly({"experimental.custom_args_module"}),
  };
}

std::vector<Option> profiling_options() {
  return {
      OPTION(profiling.enable_profiling, kCore, "Write profiler traces."),
      OPTION(profiling.save_traces_folder, kCore,
             "Folder of the traces, `iteration_N/rankR_trace.json`, in the dump folder."),
      OPTION(profiling.profile_freq, kCore, "Steps per profiling cycle, and per memory snapshot.")
          .at_least(1),
      OPTION(profiling.profiler_active, kCore, "Recorded steps at the end of each cycle.")
          .at_least(1),
      OPTION(profiling.profiler_warmup, kCore, "Warm-up steps before the recorded ones.")
          .at_least(0),
      OPTION(profiling.enable_memory_snapshot, kCore,
             "Write a memory snapshot each cycle and when memory runs out."),
      OPTION(profiling.save_memory_snapshot_folder, kCore,
             "Folder of the memory snapshots, in the dump folder."),
  };
}

std::vector<Option> metrics_options() {
  return {
      OPTION(metrics.log_freq, kCore, "Log step 1 and every multiple of this.").at_least(1),
      OPTION(metrics.enable_tensorboard, kCore, "Write TensorBoard events."),
      OPTION(metrics.disable_color_printing, kCore, "Step lines without colours."),
      OPTION(metrics.save_tb_folder, kCore,
             "Folder of the TensorBoard events, in the dump folder."),
      OPTION(metrics.save_for_all_ranks, support::kMetricsOfAllRanks,
             "Every rank writes metrics, not only the first.")
          .when(many_ranks),
      OPTION(metrics.enable_wandb, kIgnored,
             "Weights & Biases has no C++ client; `wandb sync` reads the TensorBoard events."),
  };
}

std::vector<Option> model_options() {
  return {
      OPTION(model.name, kCore, "Model family, such as `llama3`."),
      OPTION(model.flavor, kCore, "Size within the family, such as `debugmodel` or `8B`."),
      OPTION(model.hf_assets_path, kCore,
             "Folder with the tokenizer, and the weights for `checkpoint.initial_load_in_hf`; "
             "relative to the working directory.")
          .formerly({"model.tokenizer_path"}),
      OPTION(model.converters, kCore,
             "Changes to the model before it is built, in this order: `quantize.linear.float8`, "
             "`quantize.grouped_mm.float8`. The older words `float8` and `mx` stand for both of "
             "their kind, the experts' one when its `fqns` are given.")
          .limit(support::kFloat8Experts, "`quantize.grouped_mm.float8`", experts_in_float8,
                 "take quantize.grouped_mm.float8 out of model.converters to train in bfloat16")
          .limit(support::kMx, "the mx converters", anything_in_mx,
                 "MX formats need hardware that this program does not use; take the mx converters "
                 "out of model.converters"),
      OPTION(model.print_after_conversion, kCore, "Log the model's tree after the converters."),
      OPTION(model.n_layers, kCore, "Cut the flavour down to this many layers; 0: all of them.")
          .between(0, kMaxModel)
          .ours(),
      OPTION(model.vocab_size, kCore, "Vocabulary of the model; 0: the flavour's.")
          .between(0, kMaxModel)
          .ours(),
  };
}

std::vector<Option> optimizer_options() {
  return {
      OPTION(optimizer.name, kCore, "The optimizer."),
      OPTION(optimizer.lr, kCore, "Learning rate, before the schedule.").at_least(0),
      OPTION(optimizer.beta1, kCore, "Decay of the running mean of the gradient.").below_one(),
      OPTION(optimizer.beta2, kCore, "Decay of the running mean of its square.").below_one(),
      OPTION(optimizer.eps, kCore, "Added to the denominator, outside the square root.")
          .at_least(0),
      OPTION(optimizer.weight_decay, kCore, "Weight decay, on every parameter.").at_least(0),
      OPTION(optimizer.implementation, kCore,
             "One kernel serves all three: the maths is the same."),
      OPTION(optimizer.early_step_in_backward, support::kEarlyStepInBackward,
             "Update each parameter inside backward, without gradient clipping."),
      OPTION(optimizer.state_dtype, kCore,
             "Type of the two running means: `training.dtype`'s, or `bfloat16` rounded "
             "stochastically, which saves 4 bytes a parameter.")
          .one_of({"float32", "bfloat16"})
          .ours(),
  };
}

std::vector<Option> lr_scheduler_options() {
  return {
      OPTION(lr_scheduler.warmup_steps, kCore, "Steps of linear warm-up.").at_least(0),
      OPTION(lr_scheduler.total_steps, kCore, "Length of the schedule; None: `training.steps`.")
          .at_least(1),
      OPTION(lr_scheduler.decay_ratio, kCore,
             "Share of the steps spent decaying, at the end; None: all after the warm-up.")
          .between(0, 1),
      OPTION(lr_scheduler.decay_type, kCore, "Curve of the decay."),
      OPTION(lr_scheduler.min_lr_factor, kCore, "The learning rate's floor, as a share of it.")
          .between(0, 1)
          .formerly({"lr_scheduler.lr_min"}),
  };
}

std::vector<Option> training_options() {
  return {
      OPTION(training.dataset, kCore,
             "`c4_test` is the text that comes with the program; `c4` needs `dataset_path`."),
      OPTION(training.dataset_path, kCore,
             "File, folder or glob of text, JSONL or token files to train on."),
      OPTION(training.local_batch_size, kCore, "Sequences per data-parallel rank and micro-step.")
          .between(1, kMaxBatch),
      OPTION(training.global_batch_size, kCore,
             "Sequences per step over all ranks, a multiple of local_batch_size x data-parallel "
             "ranks (more: gradient accumulation); negative: exactly that."),
      OPTION(training.seq_len, kCore, "Tokens per sequence.").between(1, kMaxSequence),
      OPTION(training.max_norm, kCore, "Gradients are clipped to this global L2 norm; inf: never.")
          .above(0),
      OPTION(training.steps, kCore, "Optimizer steps to run.").at_least(1),
      OPTION(training.enable_cpu_offload, support::kCpuOffload,
             "Keep parameters, gradients and optimizer state in CPU memory."),
      OPTION(training.dtype, kCore, "Type of parameters, gradients and optimizer state.")
          .one_of({"bfloat16", "float32"}),
      OPTION(training.mixed_precision_param, kCore, "Type to compute in.")
          .one_of({"bfloat16", "float32"}),
      OPTION(training.mixed_precision_reduce, kCore, "Type to sum gradients over ranks in.")
          .one_of({"float32"}),
      OPTION(training.gc_freq, kIgnored, "Steps between Python's garbage collections."),
      OPTION(training.gc_debug, kIgnored, "Debugging of Python's garbage collector."),
      OPTION(training.token_dtype, kCore, "Type of the tokens in a headerless `.bin` file.").ours(),
      OPTION(training.token_cache, kCore,
             "Folder for tokenised text; empty: the user's cache folder.")
          .ours(),
      OPTION(training.data_order, kCore,
             "`global`: one order of sequences whatever the number of ranks, resumable on any; "
             "`per_rank`: torchtitan's streaming split.")
          .ours(),
      OPTION(training.dataloader.num_workers, kCore, "Prefetch threads; 0: one.").at_least(0),
      OPTION(training.dataloader.persistent_workers, kIgnored,
             "Keep Python worker processes between epochs."),
      OPTION(training.dataloader.pin_memory, kCore, "Page-locked host memory for batches."),
      OPTION(training.dataloader.prefetch_factor, kCore,
             "Batches to read ahead per thread; None: 2.")
          .at_least(1),
  };
}

std::vector<Option> validation_options() {
  return {
      OPTION(validation.enable, kCore, "Compute the validation loss at step 1 and each `freq`.")
          .formerly({"validation.enabled"}),
      OPTION(validation.dataset, kCore, "As training.dataset."),
      OPTION(validation.dataset_path, kCore, "As training.dataset_path."),
      OPTION(validation.local_batch_size, kCore, "Sequences per data-parallel rank.")
          .between(1, kMaxBatch),
      OPTION(validation.seq_len, kCore, "Tokens per sequence; not tied to training's.")
          .between(1, kMaxSequence),
      OPTION(validation.freq, kCore, "Steps between validations.").at_least(1),
      OPTION(validation.steps, kCore, "Batches per validation; -1: the whole data.").at_least(-1),
      OPTION(validation.dataloader.num_workers, kCore, "As training.dataloader.").at_least(0),
      OPTION(validation.dataloader.persistent_workers, kIgnored, "As training.dataloader."),
      OPTION(validation.dataloader.pin_memory, kCore, "As training.dataloader."),
      OPTION(validation.dataloader.prefetch_factor, kCore, "As training.dataloader.").at_least(1),
  };
}

std::vector<Option> debug_options() {
  return {
      OPTION(debug.seed, kCore, "Seed of weights and data order, modulo 2^64; None: drawn.")
          .formerly({"training.seed"}),
      OPTION(debug.deterministic, kCore, "Only kernels that give the same bits every time.")
          .formerly({"training.deterministic"}),
      OPTION(debug.deterministic_warn_only, kCore,
             "Warn instead of failing where no deterministic kernel exists."),
      OPTION(debug.moe_force_load_balance, kCore, "Mixture of experts: round-robin routing.")
          .formerly({"training.debug_moe_force_load_balance"}),
  };
}

}  // namespace titan::config
