// Job files: types, ranges, places in messages, old names.
#include "lib/config/toml_reader.hpp"

#include "tests/unit/config/config_testing.hpp"

namespace titan::config {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST(TomlReader, ReadsEveryKindOfValue) {
  const JobConfig job = parse_toml(R"(
[training]
steps = 2_000            # underscores
max_norm = 1             # an integer for a number
dataset_path = 'a\b'     # a literal string
mixed_precision_param = "float32"
[training.dataloader]
pin_memory = true
prefetch_factor = 4
[optimizer]
lr = 8e-4
name = "Adam"
implementation = "for-loop"
[lr_scheduler]
decay_ratio = 0.8
decay_type = "cosine"
[model]
converters = ["quantize.linear.float8"]
[quantize.linear.float8]
recipe_name = "rowwise_with_gw_hp"
[parallelism]
module_fqns_per_model_part = [["a", "b"], ["c"]]
context_parallel_load_balancer = "None"
[debug]
seed = -1
)");
  EXPECT_EQ(job.training.steps, 2000);
  EXPECT_EQ(job.training.max_norm, 1.0);
  EXPECT_EQ(job.training.dataset_path, "a\\b");
  EXPECT_EQ(job.training.mixed_precision_param, Dtype::kFloat32);
  EXPECT_TRUE(job.training.dataloader.pin_memory);
  EXPECT_EQ(job.training.dataloader.prefetch_factor, 4);
  EXPECT_EQ(job.optimizer.lr, 8e-4);
  EXPECT_EQ(job.optimizer.name, OptimizerName::kAdam);
  EXPECT_EQ(job.optimizer.implementation, OptimizerImplementation::kForLoop);
  EXPECT_EQ(job.lr_scheduler.decay_ratio, 0.8);
  EXPECT_EQ(job.lr_scheduler.decay_type, DecayType::kCosine);
  EXPECT_THAT(job.model.converters, ElementsAre("quantize.linear.float8"));
  EXPECT_EQ(job.quantize.linear.float8.recipe_name, Float8Recipe::kRowwiseWithGwHp);
  ASSERT_TRUE(job.parallelism.module_fqns_per_model_part.has_value());
  EXPECT_THAT(*job.parallelism.module_fqns_per_model_part,
              ElementsAre(ElementsAre("a", "b"), ElementsAre("c")));
  EXPECT_FALSE(job.parallelism.context_parallel_load_balancer.has_value());
  EXPECT_EQ(job.debug.seed, -1);
}

TEST(TomlReader, EmptyFileIsTheDefaults) { expect_equal(parse_toml(""), JobConfig{}); }

// One bad line each, and the whole message.
TEST(TomlReader, NamesPlaceKeyAndExpectation) {
  const struct {
    std::string_view text, message;
  } cases[] = {
      {"[training]\nsteps = \"x\"",
       R"(job.toml:2:1: training.steps: expected an integer, got a string "x")"},
      {"[training]\n  steps = 1.5",
       "job.toml:2:3: training.steps: expected an integer, got a float 1.5"},
      {"[training]\nsteps = true",
       "job.toml:2:1: training.steps: expected an integer, got a bool true"},
      {"[optimizer]\nlr = \"fast\"",
       R"(job.toml:2:1: optimizer.lr: expected a number, got a string "fast")"},
      {"[compile]\nenable = 1",
       "job.toml:2:1: compile.enable: expected true or false, got an integer 1"},
      {"[activation_checkpoint]\nselective_ac_option = 2",
       "job.toml:2:1: activation_checkpoint.selective_ac_option: expected a string, got an integer "
       "2; write \"2\""},
      {"[model]\nconverters = \"a,b\"",
       "job.toml:2:1: model.converters: expected a list of strings, got a string \"a,b\"; write "
       "[\"a\", \"b\"]"},
      {"[model]\nconverters = [1]",
       "job.toml:2:1: model.converters: expected a list of strings, got an array"},
      {"[model]\nname = 1979-05-27",
       "job.toml:2:1: model.name: expected a string, got a date or time"},
      {"[training]\nsteps = 0", "job.toml:2:1: training.steps: must be at least 1, got 0"},
      {"[optimizer]\nbeta1 = 1",
       "job.toml:2:1: optimizer.beta1: must be at least 0 and below 1, got 1.0"},
      {"[optimizer]\nlr = nan", "job.toml:2:1: optimizer.lr: must be at least 0, got nan"},
      {"[optimizer]\nlr = inf", "job.toml:2:1: optimizer.lr: must be at least 0, got inf"},
      {"[training]\nmax_norm = 0", "job.toml:2:1: training.max_norm: must be above 0, got 0.0"},
      {"[lr_scheduler]\ndecay_type = \"cosin\"",
       "job.toml:2:1: lr_scheduler.decay_type: expected one of linear, sqrt, cosine, got "
       "\"cosin\"; did you mean cosine?"},
      {"[training]\nmixed_precision_reduce = \"bfloat16\"",
       "job.toml:2:1: training.mixed_precision_reduce: expected float32, got \"bfloat16\""},
      {"[checkpoint]\nexclude_from_loading = [\"model\", \"optimiser\"]",
       "job.toml:2:1: checkpoint.exclude_from_loading: expected one of model, optimizer, "
       "lr_scheduler, dataloader, train_state, got \"optimiser\"; did you mean optimizer?"},
      {"[training]\nlocal_batchsize = 1",
       "job.toml:2:1: training.local_batchsize: unknown option; did you mean "
       "training.local_batch_size?"},
      {"[training]\nbatch_size = 1",
       "job.toml:2:1: training.batch_size: unknown option; did you mean "
       "training.local_batch_size?"},
      {"[model]\nseq_len = 1",
       "job.toml:2:1: model.seq_len: unknown option; did you mean training.seq_len?"},
      {"[model]\nxyzzy = 1", "job.toml:2:1: model.xyzzy: unknown option"},
      {"steps = 1", "job.toml:1:1: steps: unknown option; did you mean training.steps?"},
      {"\n[trainning]\nsteps = 1\nseq_len = 2",
       "job.toml:2:2: trainning: unknown section; did you mean [training]?"},
      {"[quantize.linar.float8]\nemulate = true",
       "job.toml:1:11: quantize.linar: unknown section; did you mean [quantize.linear]?"},
      {"[qwop]", "job.toml:1:2: qwop: unknown section"},
      {"training = 3", "job.toml:1:1: training: is a section: write [training]"},
      {"[training]\nsteps = 1\nsteps = 2", "job.toml:3:"},
      {"[", "job.toml:1:2:"},
      {"[training]\nsteps = ", "job.toml:2:"},
      {"a = \"\xff\"", "job.toml:1: is not valid UTF-8"},
  };
  for (const auto& [text, message] : cases) {
    const std::string error = toml_error(text);
    if (message.ends_with(":")) {
      EXPECT_THAT(error, ::testing::StartsWith(std::string(message))) << text;
    } else {
      EXPECT_EQ(error, message) << text;
    }
  }
}

TEST(TomlReader, CollectsEveryError) {
  const std::string error = toml_error("[training]\nsteps = 0\nseq_len = \"a\"\n[modell]\n");
  EXPECT_EQ(std::ranges::count(error, '\n'), 2) << error;
  EXPECT_THAT(error, HasSubstr("training.steps"));
  EXPECT_THAT(error, HasSubstr("training.seq_len"));
  EXPECT_THAT(error, HasSubstr("modell"));
}

TEST(TomlReader, RefusesWhatNoJobFileIs) {
  EXPECT_THAT(toml_error(std::string(3 << 20, '#')), HasSubstr("larger than any job file"));
  std::string deep = "a";
  for (int i = 0; i < 100'000; ++i) deep += ".a";
  EXPECT_THAT(toml_error(deep + " = 1"), HasSubstr("larger than any job file"));
}

TEST(TomlReader, MissingFileIsAnInputError) {
  Reading reading;
  read_toml_file("/nonexistent/job.toml", reading);
  EXPECT_THAT(input_error([&] { reading.throw_errors(); }), HasSubstr("/nonexistent/job.toml"));
  Reading folder;
  read_toml_file(::testing::TempDir(), folder);
  EXPECT_THAT(input_error([&] { folder.throw_errors(); }), HasSubstr(::testing::TempDir()));
}

TEST(TomlReader, OldNamesSetTheSameFields) {
  Reading reading;
  read_toml(R"(
[job]
print_args = true
use_for_integration_test = true
[model]
tokenizer_path = "tok"
converters = ["float8"]
[training]
compile = true
seed = 7
deterministic = true
debug_moe_force_load_balance = true
[lr_scheduler]
lr_min = 0.25
[checkpoint]
enable_checkpoint = true
initial_load_model_weights_only = false
last_save_model_weights_only = false
[memory_estimation]
enabled = true
[validation]
enabled = true
[experimental]
custom_args_module = "mod"
[parallelism]
enable_compiled_autograd = true
pipeline_parallel_split_points = ["layers.2"]
[fault_tolerance]
sync_steps = 5
should_quantize = false
fragment_sync_delay = 0
fragment_update_alpha = 0.0
[float8]
enable_fsdp_float8_all_gather = true
precompute_float8_dynamic_scale_for_fsdp = true
recipe_name = "rowwise"
filter_fqns = ["output"]
emulate = true
moe_fqns_prototype = ["experts"]
force_recompute_fp8_weight_in_bwd = false
[mx]
recipe_name = "mxfp8_emulated"
filter_fqns = ["wk"]
mxfp8_dim1_cast_kernel_choice = "cuda"
moe_fqns_prototype = ["e"]
use_fp8_dim1_cast_triton_kernel = true
)",
            "old.toml", reading);
  reading.throw_errors();
  expand_old_converters(reading);
  const JobConfig& job = reading.config;
  EXPECT_TRUE(job.job.print_config);
  EXPECT_EQ(job.model.hf_assets_path, "tok");
  EXPECT_THAT(job.model.converters,
              ElementsAre("quantize.linear.float8", "quantize.grouped_mm.float8"));
  EXPECT_TRUE(job.compile.enable);
  EXPECT_EQ(job.debug.seed, 7);
  EXPECT_TRUE(job.debug.deterministic);
  EXPECT_TRUE(job.debug.moe_force_load_balance);
  EXPECT_EQ(job.lr_scheduler.min_lr_factor, 0.25);
  EXPECT_TRUE(job.checkpoint.enable);
  EXPECT_FALSE(job.checkpoint.initial_load_model_only);
  EXPECT_FALSE(job.checkpoint.last_save_model_only);
  EXPECT_TRUE(job.memory_estimation.enable);
  EXPECT_TRUE(job.validation.enable);
  EXPECT_EQ(job.job.custom_config_module, "mod");
  EXPECT_TRUE(job.quantize.linear.float8.enable_fsdp_float8_all_gather);
  EXPECT_TRUE(job.quantize.linear.float8.precompute_float8_dynamic_scale_for_fsdp);
  EXPECT_EQ(job.quantize.linear.float8.recipe_name, Float8Recipe::kRowwise);
  EXPECT_THAT(job.quantize.linear.float8.filter_fqns, ElementsAre("output"));
  EXPECT_TRUE(job.quantize.linear.float8.emulate);
  EXPECT_THAT(job.quantize.grouped_mm.float8.fqns, ElementsAre("experts"));
  EXPECT_EQ(job.quantize.linear.mx.recipe_name, "mxfp8_emulated");
  EXPECT_THAT(job.quantize.linear.mx.filter_fqns, ElementsAre("wk"));
  EXPECT_EQ(job.quantize.linear.mx.mxfp8_dim1_cast_kernel_choice, "cuda");
  EXPECT_THAT(job.quantize.grouped_mm.mx.fqns, ElementsAre("e"));
  EXPECT_THAT(reading.notes,
              ::testing::Contains("old.toml:6:1: model.tokenizer_path is an old name, read as "
                                  "model.hf_assets_path"));
  EXPECT_THAT(reading.notes, ::testing::Contains(HasSubstr("fault_tolerance.sync_steps")));
}

TEST(TomlReader, OldConvertersExpandOnceAndInOrder) {
  const auto converters = [](const std::string& text) {
    return parse_toml("[model]\nconverters = " + text).model.converters;
  };
  EXPECT_THAT(converters(R"(["float8"])"), ElementsAre("quantize.linear.float8"));
  EXPECT_THAT(converters(R"(["mine", "mx", "float8"])"),
              ElementsAre("mine", "quantize.linear.mx", "quantize.linear.float8"));
  EXPECT_THAT(converters("[]"), IsEmpty());
}

TEST(TomlReader, TwoSpellingsMustAgree) {
  EXPECT_EQ(toml_error("[compile]\nenable = true\n[training]\ncompile = false"),
            "job.toml:4:1: training.compile: sets compile.enable to false, but compile.enable "
            "(job.toml:2:1) has set it to true; keep one of the two");
  EXPECT_TRUE(parse_toml("[compile]\nenable = true\n[training]\ncompile = true").compile.enable);
}

TEST(TomlReader, FqnsMayBeOneString) {
  const JobConfig job = parse_toml("[quantize.grouped_mm.float8]\nfqns = \"experts,,gate\"");
  EXPECT_THAT(job.quantize.grouped_mm.float8.fqns, ElementsAre("experts", "gate"));
}

}  // namespace
}  // namespace titan::config
