// Whether auto_filter_measured chooses well: one process chooses for the linears of a Llama-3 block
// as one rank of a tensor-parallel group holds it; another times that block forward and backward,
// all in bf16, all in float8 and as chosen. Needs a CUDA device; all cases take about a minute.
//
// Cases are named after flavour, tensor-parallel degree and tokens: --gtest_filter='*8B_TP8_M1024'.
#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <set>

#include "lib/base/error.hpp"
#include "lib/metrics/throughput.hpp"
#include "lib/model/registry.hpp"
#include "lib/model/transformer_block.hpp"
#include "lib/train/float8_measurements.hpp"

#if TITAN_CUDA
#include <ATen/cuda/CUDAEvent.h>

namespace titan {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kTokens[] = {16384, 8192, 4096, 2048,
                               1024};  // the first pays for loading kernels
constexpr int64_t kMaxSeqLen = 8192;
constexpr double kSecondsAllowed = 3;
constexpr double kShareAllowed = 1.01;

const SharderConfig kSharder = {.parameter_dtype = at::kFloat, .compute_dtype = at::kBFloat16};

struct Case {
  std::string flavor;
  int64_t tensor_parallel;
  int64_t tokens;

  std::string model() const { return concat(flavor, "_TP", tensor_parallel); }
  std::string name() const { return concat(model(), "_M", tokens); }
};

// One block as a rank of a tensor-parallel group holds it.
DecoderConfig rank_model(const Case& c) {
  DecoderConfig model = registry("llama3", c.flavor, {.n_layers = 1, .vocab_size = 1024});
  BlockConfig& block = model.layers[0];
  block.attention.heads /= c.tensor_parallel;
  block.attention.kv_heads /= c.tensor_parallel;
  block.feed_forward.hidden /= c.tensor_parallel;
  for (LinearGroup* group : {&block.attention.qkv, &block.attention.wo, &block.feed_forward.gate_up,
                             &block.feed_forward.down}) {
    for (LinearConfig& linear : group->members) {
      (linear.role == TensorParallelRole::kColumn ? linear.out_features : linear.in_features) /=
          c.tensor_parallel;
    }
  }
  return model;
}

DecoderConfig converted(const Case& c, std::vector<std::string> filter,
                        const MeasureGroup& measure = {}) {
  DecoderConfig model = rank_model(c);
  filter.push_back("output");
  float8_linear_converter({.filter_fqns = filter, .tokens = c.tokens, .measure = measure})
      ->convert(model);
  return model;
}

// ---- The process that chooses ----

fs::path folder_of(const Case& c, const fs::path& root) { return root / c.name(); }

Float8Measurements measurements_in(const fs::path& folder, const ops::Device& device,
                                   HostGroup& ranks, TimeLinearGroup time) {
  return Float8Measurements(folder / "float8_measurements.json", {{"device", device.name()}},
                            std::move(time), ranks);
}

// For all tokens of a flavour and degree; leaves a table and the seconds that it took.
void choose(const std::string& flavor, int64_t tensor_parallel, const fs::path& root) {
  const ops::Device device = ops::Device::cuda(0);
  HostGroup alone;
  for (const int64_t tokens : kTokens) {
    const Case c{flavor, tensor_parallel, tokens};
    const double start = monotonic_seconds();
    Float8Measurements measurements = measurements_in(
        folder_of(c, root), device, alone, [&](const auto& kind, const auto& choices) {
          return time_linear_group_sync(device, kind, choices,
                                        {.recipe = Float8Recipe::kRowwise, .sharder = kSharder});
        });
    converted(c, {"auto_filter_measured"}, measurements.measurer());
    measurements.finish();
    const double seconds = monotonic_seconds() - start;
    fs::create_directories(folder_of(c, root));
    measurements.save();
    std::ofstream(folder_of(c, root) / "seconds") << seconds;
  }
}

// Run by the other process alone.
TEST(Chooser, DISABLED_ForOneModel) {
  const char* flavor = std::getenv("TITAN_CHOOSER_FLAVOR");
  const char* degree = std::getenv("TITAN_CHOOSER_DEGREE");
  const char* root = std::getenv("TITAN_CHOOSER_FOLDER");
  ASSERT_TRUE(flavor && degree && root);
  choose(flavor, std::atoll(degree), root);
}

void choose_in_another_process(const Case& c, const fs::path& root) {
  setenv("TITAN_CHOOSER_FLAVOR", c.flavor.c_str(), 1);
  setenv("TITAN_CHOOSER_DEGREE", std::to_string(c.tensor_parallel).c_str(), 1);
  setenv("TITAN_CHOOSER_FOLDER", root.c_str(), 1);
  release_timing_memory();
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    execl("/proc/self/exe", "speed_test", "--gtest_also_run_disabled_tests",
          "--gtest_filter=Chooser.*", "--gtest_brief=1", nullptr);
    _exit(127);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << "status " << status;
}

// ---- The process that times blocks ----

class TimedBlock {
 public:
  TimedBlock(const ops::Device& device, const Case& c, const DecoderConfig& model)
      : context_{.device = device,
                 .batch = std::max<int64_t>(1, c.tokens / kMaxSeqLen),
                 .seq_len = std::min(c.tokens, kMaxSeqLen),
                 .rope_table = {}},
        block_(model.layers[0]),
        sharder_({TransformerBlock::declare(model.layers[0], "layers.0")}, kSharder, device) {
    const AttentionConfig& attention = model.layers[0].attention;
    context_.rope_table =
        ops::rope_table(context_.seq_len, attention.head_dim, attention.rope, device.torch());
    sharder_.initialise(/*seed=*/1);
  }

  void forward_backward(const at::Tensor& x, const at::Tensor& dy) {
    const Weights& weights = sharder_.weights(0);
    std::unique_ptr<Block::Saved> saved;
    block_.forward(context_, weights, x, &saved);
    Gradients gradients = sharder_.gradients(0);
    gradients.accumulate = false;
    block_.backward(context_, weights, gradients, {dy, dy}, std::move(saved));
  }
  // Leaves the weights where the optimizer does.
  void update() {
    for (const Parameter& parameter : sharder_.units()[0].parameters) {
      at::Tensor target = sharder_.rounding_target(parameter);
      if (target.defined()) target.copy_(parameter.master);
    }
  }
  void quantize_weights() { sharder_.parameters_updated(); }

 private:
  StepContext context_;
  TransformerBlock block_;
  Sharder sharder_;
};

// A step's work on a block but for the optimizer, between events.
struct Step {
  at::cuda::CUDAEvent start{cudaEventDefault}, backward_done{cudaEventDefault},
      updated{cudaEventDefault}, done{cudaEventDefault};

  void run(TimedBlock& block, const at::Tensor& x, const at::Tensor& dy) {
    start.record();
    block.forward_backward(x, dy);
    backward_done.record();
    block.update();
    updated.record();
    block.quantize_weights();
    done.record();
  }
  double milliseconds_after_sync() const {
    return start.elapsed_time(backward_done) + updated.elapsed_time(done);
  }
};

// Medians, the blocks taking turns so that a drift of the clocks meets them all.
std::vector<double> milliseconds(const ops::Device& device, const Case& c,
                                 const std::vector<DecoderConfig>& models) {
  constexpr int kFewest = 9, kMost = 101;
  constexpr double kSecondsInAll = 0.8;
  const int64_t dim = models[0].embedding.dim;
  const at::Tensor x = at::randn({c.tokens, dim}, device.options(at::kBFloat16));
  const at::Tensor dy = at::randn({c.tokens, dim}, device.options(at::kBFloat16));
  std::vector<std::unique_ptr<TimedBlock>> blocks;
  for (const DecoderConfig& model : models) {
    blocks.push_back(std::make_unique<TimedBlock>(device, c, model));
  }
  const auto round = [&](std::vector<Step>* steps) {
    for (auto& block : blocks) {
      Step step;
      step.run(*block, x, dy);
      if (steps != nullptr) steps->push_back(std::move(step));
    }
  };
  for (int i = 0; i < 3; ++i) round(nullptr);  // plans, memory
  device.wait_sync();
  const double start = monotonic_seconds();
  round(nullptr);
  device.wait_sync();
  const double seconds = monotonic_seconds() - start;
  const int rounds = std::clamp(static_cast<int>(kSecondsInAll / seconds), kFewest, kMost);

  std::vector<Step> steps;
  for (int i = 0; i < rounds; ++i) round(&steps);
  device.wait_sync();
  std::vector<double> medians;
  for (size_t block = 0; block < blocks.size(); ++block) {
    std::vector<double> times;
    for (size_t i = block; i < steps.size(); i += blocks.size()) {
      times.push_back(steps[i].milliseconds_after_sync());
    }
    std::nth_element(times.begin(), times.begin() + rounds / 2, times.end());
    medians.push_back(times[static_cast<size_t>(rounds / 2)]);
  }
  return medians;
}

// "wq wk wv wo"
std::string float8_members(DecoderConfig model) {
  std::string text;
  for_each_linear(model, [&](const std::string&, LinearConfig& linear, LinearGroup&) {
    if (linear.float8) text += concat(text.empty() ? "" : " ", linear.name);
  });
  return text;
}

class MeasuredFilter : public testing::TestWithParam<Case> {
 protected:
  static void SetUpTestSuite() {
    setenv("PYTORCH_ALLOC_CONF", "expandable_segments:True", /*overwrite=*/0);  // as titan-train
    root_ = fs::temp_directory_path() / concat("titan_measured_filter.", ::getpid());
  }
  static void TearDownTestSuite() { fs::remove_all(root_); }
  static fs::path root_;
  static std::set<std::string> chosen_;  // models
};
fs::path MeasuredFilter::root_;
std::set<std::string> MeasuredFilter::chosen_;

TEST_P(MeasuredFilter, IsWithinOnePercentOfTheBest) {
  if (!ops::Device::preferred().is_cuda()) GTEST_SKIP() << "no CUDA device";
  const Case& c = GetParam();
  if (chosen_.insert(c.model()).second) choose_in_another_process(c, root_);
  double seconds = 0;
  ASSERT_TRUE(std::ifstream(folder_of(c, root_) / "seconds") >> seconds);

  const ops::Device device = ops::Device::cuda(0);
  HostGroup alone;
  Float8Measurements measurements = measurements_in(
      folder_of(c, root_), device, alone, [](const auto& kind, const auto&) -> std::vector<double> {
        throw Error(concat("the table lacks ", kind.name));
      });
  const DecoderConfig own = converted(c, {"auto_filter_measured"}, measurements.measurer());
  std::vector<DecoderConfig> models = {rank_model(c), converted(c, {})};
  const std::string names[] = {float8_members(models[0]), float8_members(models[1])};
  size_t own_index = 0;
  while (own_index < 2 && names[own_index] != float8_members(own)) ++own_index;
  if (own_index == 2) models.push_back(own);

  const std::vector<double> times = milliseconds(device, c, models);
  const double best = *std::min_element(times.begin(), times.end());
  std::printf("%-16s bf16 %8.3f ms, float8 %8.3f ms, chosen %8.3f ms in %.2f s: %s\n",
              c.name().c_str(), times[0], times[1], times[own_index], seconds,
              own_index == 0 ? "none" : float8_members(own).c_str());
  EXPECT_LE(times[own_index], kShareAllowed * best) << measurements.text();
  EXPECT_LT(seconds, kSecondsAllowed);
}

std::vector<Case> cases() {
  std::vector<Case> cases;
  for (const char* flavor : {"8B", "70B"}) {
    for (const int64_t degree : {1, 8}) {
      for (const int64_t tokens : kTokens) cases.push_back({flavor, degree, tokens});
    }
  }
  return cases;
}

INSTANTIATE_TEST_SUITE_P(Llama3, MeasuredFilter, testing::ValuesIn(cases()),
                         [](const auto& info) { return info.param.name(); });

}  // namespace
}  // namespace titan

#endif
