// Job files with the keys and values of every v0.2.2 preset of llama3, llama4, deepseek_v3, qwen3
// and gpt_oss parse and print, and our own job files parse. Written from the presets' settings, for
// these tests.
#include <filesystem>

#include "lib/config/check.hpp"
#include "lib/config/dump.hpp"
#include "tests/unit/config/config_testing.hpp"

namespace titan::config {
namespace {

using ::testing::ElementsAre;

struct Preset {
  std::string_view model, flavor, lr, eps;
  std::string_view schedule;  // the rest of [lr_scheduler], after warmup_steps
  int warmup, batch, seq_len, steps;
  std::string_view dataset;
  std::string_view parallel;   // the rest of [parallelism]
  std::string_view recompute;  // [activation_checkpoint]
  std::string_view filter;     // quantize.linear.float8.filter_fqns
  std::string_view more;       // further sections
  std::string_view export_dtype = "float32";
};

constexpr std::string_view kDecay =
    "decay_ratio = 0.8\ndecay_type = \"linear\"\nmin_lr_factor = 0.0\n";
constexpr std::string_view kCosine =
    "decay_ratio = 0.8\ndecay_type = \"cosine\"\nmin_lr_factor = 0.1\n";
constexpr std::string_view kOp = "mode = \"selective\"\nselective_ac_option = 'op'\n";
constexpr std::string_view kFull = "mode = 'full'\n";
constexpr std::string_view kOutput = "[\"output\"]";
constexpr std::string_view kRouter = "[\"output\", \"router.gate\"]";
constexpr std::string_view kValidation =
    "[validation]\nenable = false\ndataset = \"c4_validation\"\nfreq = 5\nsteps = 10\n";
constexpr std::string_view kExperts =
    "[quantize.grouped_mm.float8]\nfqns = [\"experts\"]\n[quantize.linear.mx]\nfilter_fqns = "
    "[\"output\", \"router.gate\"]\n[quantize.grouped_mm.mx]\nfqns = [\"experts\"]\n";

const Preset kPresets[] = {
    {"llama3", "debugmodel", "8e-4", "1e-8", kDecay, 2, 8, 2048, 10, "c4_test",
     "tensor_parallel_degree = 1\nenable_async_tensor_parallel = false\n",
     "mode = \"selective\"\nselective_ac_option = '2'\n", kOutput, kValidation},
    {"llama3", "8B", "3e-4", "1e-8", "", 200, 1, 8192, 1000, "c4", "", kOp, kOutput, kValidation},
    {"llama3", "8B_varlen", "3e-4", "1e-8", "", 200, 1, 8192, 1000, "c4", "", kOp, kOutput,
     "[debug]\nseed = 42\n"},
    {"llama3", "70B", "1.5e-4", "1e-8", "", 200, 8, 8192, 1000, "c4",
     "tensor_parallel_degree = 8  # within a host\n", kFull, kOutput, kValidation},
    {"llama3", "405B", "8e-5", "1e-8", "", 600, 2, 8192, 3000, "c4",
     "tensor_parallel_degree = 8\nenable_async_tensor_parallel = true\n", kFull, kOutput,
     kValidation},
    {"llama4", "debugmodel", "4e-3", "1e-15", "min_lr_factor = 0.1\n", 2, 8, 2048, 10, "c4_test",
     "expert_parallel_degree = 1\nexpert_tensor_parallel_degree = 1\npipeline_parallel_schedule = "
     "\"1F1B\"\n",
     kOp, kRouter, kExperts},
    {"llama4", "17bx16e", "4e-3", "1e-15", "min_lr_factor = 0.1\n", 600, 8, 8192, 3000, "c4",
     "tensor_parallel_degree = 8\nexpert_parallel_degree = 1\nexpert_tensor_parallel_degree = 8\n",
     kFull, kRouter, kExperts},
    {"llama4", "17bx128e", "4e-3", "1e-15", "min_lr_factor = 0.1\n", 600, 1, 8192, 3000, "c4",
     "tensor_parallel_degree = 8\npipeline_parallel_degree = 4\nexpert_tensor_parallel_degree = "
     "8\n",
     kFull, kRouter, kExperts},
    {"deepseek_v3", "debugmodel", "8e-4", "1e-8", kDecay, 2, 8, 2048, 10, "c4_test",
     "expert_parallel_degree = 1\n", kOp, kRouter,
     "[quantize.grouped_mm.float8]\nfqns = [\"experts\"]\n[debug]\nmoe_force_load_balance = "
     "true\n"},
    {"deepseek_v3", "16B", "2.2e-4", "1e-8", kCosine, 200, 4, 4096, 1000, "c4",
     "expert_parallel_degree = 8\npipeline_parallel_schedule = \"Interleaved1F1B\"\n", kOp, kRouter,
     "[quantize.grouped_mm.float8]\nfqns = [\"experts\"]\n"},
    {"deepseek_v3", "671B", "2.2e-4", "1e-8", kCosine, 2'000, 4, 4096, 10'000, "c4",
     "pipeline_parallel_schedule = \"Interleaved1F1B\"\n", kOp, kRouter,
     "[quantize.grouped_mm.float8]\nfqns = [\"experts\"]\n"},
    {"qwen3", "0.6B", "3e-4", "1e-8", "", 2, 4, 4096, 10, "c4", "", kOp, kOutput, "", "float16"},
    {"qwen3", "1.7B", "8e-4", "1e-8", "", 20, 4, 4096, 100, "c4", "", kOp, kOutput, "", "float16"},
    {"qwen3", "32B", "8e-4", "1e-8", "", 600, 2, 4096, 3000, "c4", "", kFull, kOutput, "",
     "float16"},
    {"qwen3", "debugmodel_moe", "3e-4", "1e-8", "", 2, 4, 4096, 10, "c4",
     "expert_parallel_degree = 1\nexpert_tensor_parallel_degree = 1\n", kOp, kOutput, "",
     "float16"},
    {"gpt_oss", "debugmodel", "8e-4", "1e-8", kDecay, 2, 8, 2048, 10, "c4_test",
     "expert_parallel_degree = 1\nexpert_tensor_parallel_degree = 1\n",
     "mode = \"none\"\nselective_ac_option = '2'\n", kRouter,
     "[quantize.grouped_mm.float8]\nfqns = [\"experts\"]\n[validation]\nenable = false\n"},
};

std::string text_of(const Preset& p) {
  return concat("[job]\ndump_folder = \"./outputs\"\ndescription = \"", p.model, " ", p.flavor,
                "\"\nprint_config = false\n",
                "[profiling]\nenable_profiling = true\nsave_traces_folder = \"profile_trace\"\n"
                "profile_freq = 100\nenable_memory_snapshot = false\n"
                "save_memory_snapshot_folder = \"memory_snapshot\"\n",
                "[metrics]\nlog_freq = 10\ndisable_color_printing = false\n"
                "enable_tensorboard = true\nsave_tb_folder = \"tb\"\nenable_wandb = false\n",
                "[model]\nname = \"", p.model, "\"\nflavor = \"", p.flavor,
                "\"\nhf_assets_path = \"./tests/assets/tokenizer\"\n# converters = [\"x\"]\n",
                "[optimizer]\nname = \"AdamW\"\nlr = ", p.lr, "\neps = ", p.eps,
                "\n[lr_scheduler]\nwarmup_steps = ", p.warmup, "\n", p.schedule,
                "[training]\nlocal_batch_size = ", p.batch, "\nseq_len = ", p.seq_len,
                "\nmax_norm = 1.0\nsteps = ", p.steps, "\ndataset = \"", p.dataset, "\"\n",
                "[parallelism]\ndata_parallel_replicate_degree = 1\n"
                "data_parallel_shard_degree = -1\nfsdp_reshard_after_forward = \"default\"\n"
                "context_parallel_degree = 1\n",
                p.parallel,
                "[checkpoint]\nenable = false\nfolder = \"checkpoint\"\ninterval = 500\n"
                "last_save_model_only = true\nexport_dtype = \"",
                p.export_dtype, "\"\nasync_mode = \"disabled\"\n",
                "[compile]\nenable=false\ncomponents = [\"model\", \"loss\"]\n",
                "[activation_checkpoint]\n", p.recompute,
                "[quantize.linear.float8]\nenable_fsdp_float8_all_gather = false\n"
                "precompute_float8_dynamic_scale_for_fsdp = false\nfilter_fqns = ",
                p.filter, "\n", p.more);
}

TEST(Presets, ParseAndPrint) {
  for (const Preset& preset : kPresets) {
    const std::string text = text_of(preset);
    SCOPED_TRACE(text);
    const JobConfig job = parse_toml(text);
    EXPECT_EQ(job.model.name, preset.model);
    EXPECT_EQ(job.model.flavor, preset.flavor);
    EXPECT_EQ(job.optimizer.lr, std::stod(std::string(preset.lr)));
    EXPECT_EQ(job.lr_scheduler.warmup_steps, preset.warmup);
    EXPECT_EQ(job.training.local_batch_size, preset.batch);
    EXPECT_EQ(job.training.seq_len, preset.seq_len);
    EXPECT_EQ(word(job.checkpoint.export_dtype), preset.export_dtype);
    expect_equal(parse_toml(to_toml(job)), job);
  }
}

// The 405B preset carries a converter word of the older spelling.
TEST(Presets, StaleConverterWord) {
  std::string text = text_of(kPresets[4]);
  text.replace(text.find("# converters = [\"x\"]"), 20, "converters = [\"float8\"]");
  EXPECT_THAT(parse_toml(text).model.converters, ElementsAre("quantize.linear.float8"));
}

TEST(Presets, OneRankPresetsAreSupported) {
  EXPECT_EQ(check_supported(parse_toml(text_of(kPresets[0]))), "");
  EXPECT_EQ(check_supported(parse_toml(text_of(kPresets[1]))), "");
}

TEST(OwnJobFiles, ParseAndAreSupported) {
  int files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(TITAN_SOURCE_DIR "/configs")) {
    if (entry.path().extension() != ".toml") continue;
    SCOPED_TRACE(entry.path().string());
    JobConfig job = run({entry.path().string()}).config;
    job.job.config_file.reset();
    expect_equal(parse_toml(to_toml(job)), job);
    EXPECT_EQ(check_supported(job), "");  // each can at least be planned
    ++files;
  }
  EXPECT_GE(files, 5);
}

TEST(OwnJobFiles, TheDebugJobRunsAsItIs) {
  const JobConfig job = run({TITAN_SOURCE_DIR "/configs/debug.toml"}).config;
  EXPECT_EQ(check_supported(job), "");
  EXPECT_THAT(check_consistent(job), ::testing::IsEmpty());
  EXPECT_GE(job.training.local_batch_size * job.training.seq_len, 512);
  EXPECT_GE(job.training.steps, 40);
}

}  // namespace
}  // namespace titan::config
