// What is refused, what is ignored, and which options contradict each other.
#include "lib/config/check.hpp"

#include "tests/unit/config/config_testing.hpp"

namespace titan::config {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::UnorderedElementsAre;

JobConfig job_with(std::initializer_list<std::string_view> arguments) {
  return run(arguments).config;
}

std::string refused(std::initializer_list<std::string_view> arguments) {
  const JobConfig job = job_with(arguments);
  return input_error([&] { check_supported(job); });
}

std::string inconsistent(std::initializer_list<std::string_view> arguments,
                         std::int64_t world_size = 1) {
  const JobConfig job = job_with(arguments);
  return input_error([&] { check_consistent(job, world_size); });
}

TEST(CheckSupported, DefaultsRun) {
  EXPECT_EQ(check_supported(JobConfig{}), "");
  EXPECT_THAT(check_consistent(JobConfig{}), IsEmpty());
}

// Every option that is refused whatever the rest of the job says, with the words that must appear.
TEST(CheckSupported, RefusesByName) {
  const struct {
    std::string_view argument, named;
  } cases[] = {
      {"--parallelism.pipeline_parallel_degree=2",
       "parallelism.pipeline_parallel_degree: 2 is not supported yet; set it to 1, the default"},
      {"--parallelism.context_parallel_degree=2", "parallelism.context_parallel_degree"},
      {"--parallelism.expert_parallel_degree=2", "parallelism.expert_parallel_degree"},
      {"--parallelism.expert_parallel_comm_backend=deepep", "set it to \"standard\""},
      {"--model.converters=quantize.grouped_mm.float8", "take quantize.grouped_mm.float8 out"},
      {"--model.converters=mx", "take the mx converters out"},
      {"--optimizer.early_step_in_backward", "optimizer.early_step_in_backward"},
      {"--training.enable_cpu_offload", "training.enable_cpu_offload"},
      {"--activation_checkpoint.mode=memory_budget", "set it to none, selective or full"},
      {"--checkpoint.create_seed_checkpoint", "checkpoint.create_seed_checkpoint"},
      {"--comm.mode=fake_backend", "not supported yet"},
      {"--comm.mode=local_tensor", "has no meaning here"},
      {"--memory_estimation.enable", "use --dry_run"},
      {"--fault_tolerance.enable", "fault_tolerance.enable: true has no meaning here"},
      {"--job.custom_config_module=m", "job.custom_config_module"},
      {"--experimental.custom_args_module=m", "job.custom_config_module"},
      {"--experimental.custom_import=m", "experimental.custom_import"},
  };
  for (const auto& [argument, named] : cases) {
    EXPECT_THAT(refused({argument}), HasSubstr(std::string(named))) << argument;
  }
}

TEST(CheckSupported, AcceptsWhatHasNoEffect) {
  for (std::string_view argument :
       {"--parallelism.data_parallel_shard_degree=4",
        "--parallelism.data_parallel_replicate_degree=2", "--parallelism.tensor_parallel_degree=2",
        "--parallelism.pipeline_parallel_schedule=Interleaved1F1B",
        "--parallelism.expert_tensor_parallel_degree=8",
        "--parallelism.enable_async_tensor_parallel", "--parallelism.disable_loss_parallel",
        "--parallelism.fsdp_reshard_after_forward=always",
        "--parallelism.context_parallel_rotate_method=alltoall", "--metrics.save_for_all_ranks",
        "--quantize.linear.float8.filter_fqns=output",
        "--quantize.linear.float8.recipe_name=tensorwise", "--quantize.grouped_mm.mx.fqns=experts",
        "--checkpoint.initial_load_in_hf_quantized", "--comm.init_timeout_seconds=5"}) {
    EXPECT_EQ(check_supported(job_with({argument})), "") << argument;
  }
  EXPECT_THAT(refused({"--checkpoint.enable", "--checkpoint.initial_load_in_hf_quantized"}),
              HasSubstr("initial_load_in_hf_quantized"));
}

TEST(CheckSupported, IgnoredOptionsMakeOneLine) {
  EXPECT_EQ(check_supported(job_with({"--compile.enable", "--training.gc_freq=10",
                                      "--quantize.linear.float8.enable_fsdp_float8_all_gather"})),
            "without effect in this program: training.gc_freq = 10, compile.enable = true, "
            "quantize.linear.float8.enable_fsdp_float8_all_gather = true");
}

TEST(CheckSupported, ListsEverythingAtOnceWithPlaces) {
  const std::string path = written(
      "pp.toml", "[parallelism]\ncontext_parallel_degree = 8\npipeline_parallel_degree = 4\n");
  const CommandLine line = run({path, "--training.enable_cpu_offload"});
  const std::string error = input_error([&] { check_supported(line.config, 1, line.origins); });
  EXPECT_THAT(error, HasSubstr(path + ":2:1: parallelism.context_parallel_degree: 8"));
  EXPECT_THAT(error, HasSubstr(path + ":3:1: parallelism.pipeline_parallel_degree: 4"));
  EXPECT_THAT(error, HasSubstr("command line: training.enable_cpu_offload"));
}

TEST(CheckConsistent, GlobalBatch) {
  const auto batch = [](std::string_view global) {
    return job_with({"--training.local_batch_size=4",
                     std::string("--training.global_batch_size=") + std::string(global)});
  };
  EXPECT_THAT(inconsistent({"--training.local_batch_size=4", "--training.global_batch_size=6"}),
              HasSubstr("training.global_batch_size: must be a positive multiple of "
                        "training.local_batch_size x data-parallel ranks = 4 x 1 = 4, got 6"));
  EXPECT_THAT(inconsistent({"--training.global_batch_size=0"}), HasSubstr("got 0"));
  EXPECT_EQ(gradient_accumulation_steps(batch("12"), 1), 3);
  EXPECT_EQ(gradient_accumulation_steps(batch("24"), 2), 3);
  EXPECT_EQ(gradient_accumulation_steps(batch("-1"), 2), 1);
  EXPECT_THROW(gradient_accumulation_steps(batch("6"), 1), Error);
  EXPECT_THAT(check_consistent(batch("8"), 2), IsEmpty());
  EXPECT_THAT(input_error([&] { check_consistent(batch("12"), 2); }),
              HasSubstr("training.global_batch_size: must be a positive multiple of "
                        "training.local_batch_size x data-parallel ranks = 4 x 2 = 8, got 12"));
}

struct MeshCase {
  std::int64_t world_size;
  std::string_view replicate, shard, tp;
  std::int64_t dp_replicate, dp_shard;  // 0: refused, with the words below
  std::string_view message = "";
};

TEST(CheckConsistent, Degrees) {
  const MeshCase cases[] = {
      {1, "1", "-1", "1", 1, 1},
      {8, "1", "-1", "1", 1, 8},
      {8, "1", "8", "1", 1, 8},
      {8, "2", "-1", "1", 2, 4},  // HSDP
      {8, "8", "-1", "1", 8, 1},  // DDP
      {8, "4", "1", "2", 4, 1},   // DDP with tensor parallel, which upstream refuses
      {16, "2", "-1", "2", 2, 4},
      {512, "1", "-1", "8", 1, 64},
      {8, "1", "0", "1", 0, 0, "must be -1 or at least 1, got 0"},
      {1, "1", "1", "8", 0, 0,
       "the degrees do not make up the 1 rank: data_parallel_replicate 1, data_parallel_shard 1, "
       "tensor_parallel 8, context_parallel 1, pipeline_parallel 1; start 8 processes, or change "
       "the degrees"},
      {4, "1", "-1", "8", 0, 0, "start a multiple of 8 processes"},
      {6, "2", "-1", "2", 0, 0,
       "the degrees do not make up the 6 ranks: data_parallel_replicate 2, data_parallel_shard -1"},
      {4, "3", "-1", "1", 0, 0, "start a multiple of 3 processes"},
      {2, "1", "3", "1", 0, 0, "start 3 processes"},
      {8, "1", "1", "1", 0, 0, "start 1 processes"},
  };
  for (const MeshCase& each : cases) {
    const auto argument = [](std::string_view name, std::string_view value) {
      return concat("--parallelism.", name, "=", value);
    };
    const std::string replicate = argument("data_parallel_replicate_degree", each.replicate),
                      shard = argument("data_parallel_shard_degree", each.shard),
                      tp = argument("tensor_parallel_degree", each.tp);
    SCOPED_TRACE(concat(each.world_size, " ranks, ", replicate, ", ", shard, ", ", tp));
    const JobConfig job = job_with({replicate, shard, tp});
    if (each.dp_shard > 0) {
      EXPECT_THAT(check_consistent(job, each.world_size), IsEmpty());
      const Degrees found = degrees(job, each.world_size);
      EXPECT_EQ(found.dp_replicate, each.dp_replicate);
      EXPECT_EQ(found.dp_shard, each.dp_shard);
      EXPECT_EQ(std::to_string(found.tp), each.tp);
    } else {
      const char* set = each.shard != "-1" ? "parallelism.data_parallel_shard_degree: "
                        : each.tp != "1"   ? "parallelism.tensor_parallel_degree: "
                                           : "parallelism.data_parallel_replicate_degree: ";
      const auto refused = AllOf(HasSubstr(set), HasSubstr(std::string(each.message)));
      EXPECT_THAT(input_error([&] { check_consistent(job, each.world_size); }), refused);
      EXPECT_THAT(input_error([&] { degrees(job, each.world_size); }), refused);
    }
  }
}

TEST(CheckConsistent, DegreesOutOfRange) {
  for (std::string_view argument :
       {"--parallelism.tensor_parallel_degree=0", "--parallelism.tensor_parallel_degree=-1",
        "--parallelism.data_parallel_replicate_degree=0",
        "--parallelism.data_parallel_replicate_degree=-2",
        "--parallelism.data_parallel_shard_degree=-2"}) {
    EXPECT_THAT(run_error({argument}), HasSubstr("_degree")) << argument;
  }
}

TEST(CheckConsistent, SmallestWorldSize) {
  EXPECT_EQ(smallest_world_size(JobConfig{}), 1);
  EXPECT_EQ(smallest_world_size(job_with({"--parallelism.data_parallel_replicate_degree=2",
                                          "--parallelism.data_parallel_shard_degree=32",
                                          "--parallelism.tensor_parallel_degree=8"})),
            512);
}

TEST(CheckConsistent, TokensOfATensorParallelGroup) {
  constexpr std::string_view kTp = "--parallelism.tensor_parallel_degree=2";
  EXPECT_THAT(inconsistent({kTp, "--training.seq_len=7", "--training.local_batch_size=3"}, 2),
              HasSubstr("training.seq_len: the 3 x 7 tokens of a micro-batch are not a multiple of "
                        "parallelism.tensor_parallel_degree = 2"));
  EXPECT_THAT(
      check_consistent(job_with({kTp, "--training.seq_len=7", "--training.local_batch_size=4"}), 2),
      IsEmpty());
  EXPECT_THAT(inconsistent({kTp, "--validation.enable", "--validation.seq_len=7",
                            "--validation.local_batch_size=1"},
                           2),
              HasSubstr("validation.seq_len: the 1 x 7 tokens"));
  EXPECT_THAT(check_consistent(job_with({"--training.seq_len=7"})), IsEmpty());
}

TEST(CheckConsistent, TensorParallelOptionsWithoutTensorParallel) {
  const std::initializer_list<std::string_view> both = {
      "--parallelism.enable_async_tensor_parallel", "--parallelism.disable_loss_parallel"};
  EXPECT_THAT(
      check_consistent(job_with(both)),
      ElementsAre("parallelism.enable_async_tensor_parallel has no effect without tensor "
                  "parallel",
                  "parallelism.disable_loss_parallel has no effect without tensor parallel"));
  EXPECT_THAT(check_consistent(job_with({"--parallelism.enable_async_tensor_parallel",
                                         "--parallelism.tensor_parallel_degree=2"}),
                               2),
              IsEmpty());
}

TEST(CheckConsistent, Contradictions) {
  const struct {
    std::vector<std::string_view> arguments;
    std::string_view named;
  } cases[] = {
      {{"--checkpoint.enable", "--checkpoint.keep_latest_k=1"}, "checkpoint.keep_latest_k"},
      {{"--checkpoint.enable", "--checkpoint.initial_load_in_hf",
        "--checkpoint.no_initial_load_model_only"},
       "checkpoint.initial_load_in_hf:"},
      {{"--checkpoint.enable", "--checkpoint.initial_load_in_hf_quantized"},
       "checkpoint.initial_load_in_hf_quantized"},
      {{"--checkpoint.enable", "--checkpoint.last_save_in_hf",
        "--checkpoint.no_last_save_model_only"},
       "checkpoint.last_save_in_hf"},
      {{"--profiling.enable_profiling", "--profiling.profile_freq=3"}, "= 4, got 3"},
      {{"--activation_checkpoint.selective_ac_option=ops"}, "got \"ops\""},
      {{"--activation_checkpoint.selective_ac_option=-1"}, "got \"-1\""},
      {{"--activation_checkpoint.selective_ac_option="}, "got \"\""},
      {{"--validation.steps=0"}, "validation.steps"},
  };
  for (const auto& [arguments, named] : cases) {
    const JobConfig job = parse_command_line(arguments).config;
    EXPECT_THAT(input_error([&] { check_consistent(job); }), HasSubstr(std::string(named)));
  }
  EXPECT_THAT(check_consistent(job_with({"--checkpoint.keep_latest_k=1"})), IsEmpty());
}

TEST(CheckConsistent, OptionsOfAConverterThatIsNotListed) {
  EXPECT_THAT(check_consistent(job_with({"--float8.recipe_name=rowwise",
                                         "--quantize.linear.float8.filter_fqns=output,w1",
                                         "--quantize.grouped_mm.float8.fqns=experts"})),
              UnorderedElementsAre(
                  "model.converters does not list quantize.linear.float8, so these have no effect: "
                  "quantize.linear.float8.recipe_name, quantize.linear.float8.filter_fqns",
                  "model.converters does not list quantize.grouped_mm.float8, so these have no "
                  "effect: quantize.grouped_mm.float8.fqns"));
  EXPECT_THAT(check_consistent(job_with({"--model.converters=float8", "--float8.emulate",
                                         "--float8.recipe_name=rowwise"})),
              IsEmpty());
  // A default that is written out asks for nothing.
  EXPECT_THAT(check_consistent(job_with({"--quantize.linear.mx.filter_fqns=output"})), IsEmpty());
}

TEST(CheckConsistent, ScheduleWarnings) {
  EXPECT_THAT(check_consistent(job_with({"--training.steps=10"})),
              ElementsAre(HasSubstr("warmup_steps = 200 is cut to the schedule's 10 steps")));
  EXPECT_THAT(check_consistent(job_with({"--training.steps=10", "--lr_scheduler.total_steps=300"})),
              IsEmpty());
  EXPECT_THAT(check_consistent(job_with({"--training.steps=10", "--lr_scheduler.warmup_steps=4",
                                         "--lr_scheduler.decay_ratio=0.8"})),
              ElementsAre(HasSubstr("is cut to the 6 after the warm-up")));
}

}  // namespace
}  // namespace titan::config
