// The forms of the command line, and precedence.
#include "lib/config/command_line.hpp"

#include "tests/unit/config/config_testing.hpp"

namespace titan::config {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST(CommandLineTest, EqualForms) {
  for (const std::vector<std::string_view>& form : std::vector<std::vector<std::string_view>>{
           {"--training.local_batch_size", "3"},
           {"--training.local_batch_size=3"},
           {"--training.local-batch-size", "3"},
           {"--training.local-batch_size=3"},
           {"--training.local_batch_size=+3"},
       }) {
    EXPECT_EQ(parse_command_line(form).config.training.local_batch_size, 3) << form[0];
  }
}

TEST(CommandLineTest, Bools) {
  const struct {
    std::string_view flag;
    bool value;
  } cases[] = {
      {"--checkpoint.last_save_model_only", true},
      {"--checkpoint.no_last_save_model_only", false},
      {"--checkpoint.no-last-save-model-only", false},
      {"--checkpoint.last-save-model-only=false", false},
      {"--checkpoint.last_save_model_only=true", true},
      {"--checkpoint.last_save_model_weights_only", true},      // old name
      {"--checkpoint.no_last_save_model_weights_only", false},  // and its negation
  };
  for (const auto& [flag, value] : cases) {
    EXPECT_EQ(run({flag}).config.checkpoint.last_save_model_only, value) << flag;
  }
  EXPECT_TRUE(run({"--training.dataloader.pin_memory"}).config.training.dataloader.pin_memory);
  EXPECT_FALSE(run({"--training.dataloader.no_pin_memory"}).config.training.dataloader.pin_memory);
}

TEST(CommandLineTest, Values) {
  const JobConfig job =
      run({"--optimizer.lr", "1e-3", "--training.steps=1_000", "--debug.seed", "-5",
           "--training.max_norm=inf", "--job.description", "", "--model.converters=a,,b",
           "--quantize.linear.float8.filter_fqns", "",
           "--parallelism.context_parallel_load_balancer=None",
           "--parallelism.module_fqns_per_model_part=[['x'], ['y', 'z']]",
           "--optimizer.implementation", "for-loop", "--job.save_config_file=--odd"})
          .config;
  EXPECT_EQ(job.optimizer.lr, 1e-3);
  EXPECT_EQ(job.training.steps, 1000);
  EXPECT_EQ(job.debug.seed, -5);
  EXPECT_EQ(job.training.max_norm, std::numeric_limits<double>::infinity());
  EXPECT_EQ(job.job.description, "");
  EXPECT_THAT(job.model.converters, ElementsAre("a", "b"));
  EXPECT_THAT(job.quantize.linear.float8.filter_fqns, IsEmpty());
  EXPECT_FALSE(job.parallelism.context_parallel_load_balancer.has_value());
  EXPECT_THAT(*job.parallelism.module_fqns_per_model_part,
              ElementsAre(ElementsAre("x"), ElementsAre("y", "z")));
  EXPECT_EQ(job.optimizer.implementation, OptimizerImplementation::kForLoop);
  EXPECT_EQ(job.job.save_config_file, "--odd");
}

TEST(CommandLineTest, FlagsOverrideTheFileOverridesTheDefaults) {
  const std::string path = written("precedence.toml", R"([training]
steps = 5
seq_len = 64
[model]
converters = ["a", "b"]
[debug]
seed = 1
)");
  const CommandLine line =
      run({path, "--training.steps", "6", "--model.converters", "c", "--debug.seed=None"});
  EXPECT_EQ(line.config.training.steps, 6);
  EXPECT_EQ(line.config.training.seq_len, 64);
  EXPECT_EQ(line.config.training.local_batch_size, 8);
  EXPECT_THAT(line.config.model.converters, ElementsAre("c"));
  EXPECT_FALSE(line.config.debug.seed.has_value());
  EXPECT_EQ(line.config.job.config_file, path);
  EXPECT_EQ(line.origins.at("training.steps"), "command line");
  EXPECT_EQ(line.origins.at("training.seq_len"), path + ":3:1");
  EXPECT_FALSE(line.origins.contains("training.local_batch_size"));
}

TEST(CommandLineTest, TheLastOfRepeatedFlagsHolds) {
  EXPECT_EQ(run({"--training.steps=1", "--training.steps=2"}).config.training.steps, 2);
  EXPECT_FALSE(run({"--compile.enable", "--compile.no_enable"}).config.compile.enable);
  EXPECT_THAT(run_error({"--compile.enable", "--compile.no_enable", "--training.compile"}),
              HasSubstr("training.compile: sets compile.enable to true"));
}

TEST(CommandLineTest, AnOldNameOnTheCommandLineOverridesTheNewOneInTheFile) {
  const std::string path = written("old_new.toml", "[compile]\nenable = true\n");
  EXPECT_FALSE(run({path, "--training.no_compile"}).config.compile.enable);
}

TEST(CommandLineTest, TheJobFileInEveryForm) {
  const std::string path = written("form.toml", "[training]\nsteps = 77\n");
  const std::string equals = "--job.config_file=" + path, dashed = "--job.config-file=" + path;
  for (const CommandLine& line :
       {run({path}), run({"--job.config_file", path}), run({equals}), run({dashed}),
        run({path, equals}), run({"--training.seq_len", "8", path})}) {
    EXPECT_EQ(line.config.training.steps, 77);
    EXPECT_EQ(line.config.job.config_file, path);
  }
  const CommandLine none = run({});
  expect_equal(none.config, JobConfig{});
  EXPECT_THAT(none.notes, ElementsAre(HasSubstr("no job file")));
}

TEST(CommandLineTest, Modes) {
  EXPECT_EQ(run({}).mode, Mode::kTrain);
  EXPECT_EQ(run({"--print_config"}).mode, Mode::kPrintConfig);
  EXPECT_EQ(run({"--print-config"}).mode, Mode::kPrintConfig);
  EXPECT_EQ(run({"-h", "--nonsense"}).mode, Mode::kHelp);
  EXPECT_EQ(run({"missing.toml", "--help"}).mode, Mode::kHelp);
  EXPECT_EQ(run({"--version"}).mode, Mode::kVersion);
  const CommandLine dry = run({"--dry_run", "--json", "--world_size", "16"});
  EXPECT_EQ(dry.mode, Mode::kDryRun);
  EXPECT_TRUE(dry.json);
  EXPECT_EQ(dry.world_size, 16);
  EXPECT_EQ(run({"--dry-run", "--world-size=2"}).world_size, 2);
  EXPECT_EQ(run({"--dry_run"}).world_size, std::nullopt);
  EXPECT_THAT(run_error({"--dry_run", "--print_config"}), HasSubstr("exclude each other"));
  EXPECT_THAT(run_error({"--json"}), HasSubstr("--json: goes with"));
  EXPECT_THAT(run_error({"--world_size", "2"}), HasSubstr("--world_size: goes with"));
  EXPECT_THAT(run_error({"--dry_run", "--world_size=0"}), HasSubstr("from 1 to 1000000"));
  EXPECT_THAT(run_error({"--dry_run", "--world_size=1000001"}), HasSubstr("from 1 to 1000000"));
  EXPECT_THAT(run_error({"--dry_run", "--world_size"}), HasSubstr("from 1 to 1000000"));
  EXPECT_THAT(run_error({"--dry_run=1"}), HasSubstr("takes no argument"));
}

TEST(CommandLineTest, Errors) {
  const struct {
    std::vector<std::string_view> arguments;
    std::string_view message;
  } cases[] = {
      {{"--training.step", "3"},
       "command line: --training.step: unknown option; did you mean training.steps?"},
      {{"--trainig.steps=3"},
       "command line: --trainig.steps: unknown option; did you mean training.steps?"},
      {{"--seq_len=3"}, "command line: --seq_len: unknown option; did you mean training.seq_len?"},
      {{"--dryrun"}, "command line: --dryrun: unknown option; did you mean --dry_run?"},
      {{"--compile.no_backend=x"},
       "command line: --compile.no_backend: unknown option; did you mean "
       "compile.backend?"},
      {{"--training.steps"}, "command line: --training.steps: needs a value, an integer"},
      {{"--training.steps", "--compile.enable"},
       "command line: --training.steps: needs a value, an integer"},
      {{"--training.steps=ten"},
       "command line: --training.steps: expected an integer, got \"ten\""},
      {{"--training.steps=1.0"},
       "command line: --training.steps: expected an integer, got \"1.0\""},
      {{"--training.steps="}, "command line: --training.steps: expected an integer, got \"\""},
      {{"--training.steps=None"},
       "command line: --training.steps: expected an integer, got \"None\""},
      {{"--training.steps=99999999999999999999"},
       "command line: --training.steps: expected an integer, got \"99999999999999999999\""},
      {{"--training.steps=-1"}, "command line: training.steps: must be at least 1, got -1"},
      {{"--optimizer.lr=nan"}, "command line: optimizer.lr: must be at least 0, got nan"},
      {{"--compile.enable=1"}, "command line: --compile.enable: expected true or false, got \"1\""},
      {{"--compile.no_enable=true"}, "command line: --compile.no_enable: takes no argument"},
      {{"--compile.enable", "false"},
       "command line: false: a bool option takes no argument: write --section.option, "
       "--section.no_option or --section.option=false"},
      {{"--optimizer.name=SGD"},
       "command line: optimizer.name: expected one of Adam, AdamW, got \"SGD\""},
      {{"-x"}, "command line: -x: unknown argument; options look like --section.option value"},
      {{"--float8.recipe_name=rowwise", "--quantize.linear.float8.recipe_name=tensorwise"},
       "command line: quantize.linear.float8.recipe_name: sets quantize.linear.float8.recipe_name "
       "to "
       "\"tensorwise\", but float8.recipe_name (command line) has set it to \"rowwise\"; keep one "
       "of "
       "the two"},
      {{"--job.description=\xc3\x28"},
       "command line: --job.description: the value is not valid UTF-8"},
      {{"--parallelism.module_fqns_per_model_part=[1]"},
       "command line: --parallelism.module_fqns_per_model_part: expected a list of lists of "
       "strings, "
       "got \"[1]\""},
  };
  for (const auto& [arguments, message] : cases) {
    EXPECT_EQ(input_error([&] { parse_command_line(arguments); }), message);
  }
  EXPECT_THAT(run_error({"/nonexistent/x.toml"}), HasSubstr("/nonexistent/x.toml"));
  EXPECT_THAT(run_error({written("a.toml", ""), written("b.toml", "")}),
              HasSubstr("is a second job file, after"));
}

TEST(CommandLineTest, FileAndFlagErrorsComeTogether) {
  const std::string path = written("both.toml", "[training]\nsteps = 0\n");
  const std::string error = run_error({path, "--nope.x=1", "--optimizer.lr=-1"});
  EXPECT_THAT(error, HasSubstr(path + ":2:1: training.steps"));
  EXPECT_THAT(error, HasSubstr("--nope.x"));
  EXPECT_THAT(error, HasSubstr("optimizer.lr: must be at least 0"));
}

// The form that benchmark scripts of the older spelling pass.
TEST(CommandLineTest, OldSpellings) {
  const CommandLine line =
      run({"--model.converters=float8", "--float8.recipe_name=rowwise", "--training.compile",
           "--float8.moe_fqns_prototype=experts", "--job.use_for_integration_test",
           "--fault_tolerance.sync_steps", "5", "--training.local-batch-size=2"});
  EXPECT_THAT(line.config.model.converters,
              ElementsAre("quantize.linear.float8", "quantize.grouped_mm.float8"));
  EXPECT_EQ(line.config.quantize.linear.float8.recipe_name, Float8Recipe::kRowwise);
  EXPECT_TRUE(line.config.compile.enable);
  EXPECT_EQ(line.config.training.local_batch_size, 2);
}

TEST(CommandLineTest, ArgcArgv) {
  const char* argv[] = {"titan-train", "--training.steps", "9"};
  EXPECT_EQ(parse_command_line(3, argv).config.training.steps, 9);
  EXPECT_EQ(parse_command_line(0, nullptr).mode, Mode::kTrain);
}

}  // namespace
}  // namespace titan::config
