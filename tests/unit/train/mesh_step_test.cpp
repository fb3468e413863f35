// A step on any mesh is the step of one process: losses, every gradient, the norm, the new weights.
#include <c10/core/Allocator.h>
#include <c10/util/ThreadLocalDebugInfo.h>

#include <cmath>

#include "lib/base/error.hpp"
#include "lib/model/converter.hpp"
#include "tests/unit/train/mesh_run.hpp"

namespace titan {
namespace {

using testing::MeshOutcome;
using testing::NamedTensors;
using testing::ProcessGroupsOnly;
using testing::run_on_mesh;

// Tokens so few that the embedding exchanges its outputs, and so many that the table is gathered.
constexpr int64_t kShort = 24, kLong = 48;
constexpr int64_t kRows = 4;  // sequences of a micro-batch over all ranks

SharderConfig in_fp64(int64_t micro_batches) {
  return {
      .parameter_dtype = at::kDouble, .compute_dtype = at::kDouble, .micro_batches = micro_batches};
}

std::vector<std::vector<MicroBatch>> two_steps(int64_t micro_batches, int64_t seq_len) {
  std::vector<std::vector<MicroBatch>> steps(2);
  uint64_t seed = 0;
  for (std::vector<MicroBatch>& step : steps) {
    for (int64_t i = 0; i < micro_batches; ++i) {
      step.push_back(random_batch(kRows, seq_len, ++seed));
      step.back().labels.narrow(0, 5, 9).fill_(-100);  // ranks have unequal numbers of valid tokens
    }
  }
  return steps;
}

void expect_close(const NamedTensors& actual, const NamedTensors& expected, double tolerance) {
  ASSERT_EQ(actual.size(), expected.size());
  for (const auto& [name, tensor] : expected) {
    const at::Tensor& other = actual.at(name);
    ASSERT_TRUE(other.isfinite().all().item<bool>()) << name;
    EXPECT_LE((other - tensor).norm().item<double>(), tolerance * tensor.norm().item<double>())
        << name;
  }
}

struct MeshCase {
  MeshShape mesh;
  int64_t micro_batches = 1;
  bool reshard_after_forward = true;
  std::vector<Recompute> recompute = {Recompute::kNothing, Recompute::kNothing};
  int64_t seq_len = kShort;
  bool process_group = false;
};

std::string name_of(const ::testing::TestParamInfo<MeshCase>& info) {
  const MeshCase& test = info.param;
  std::string name =
      concat("replicate", test.mesh.dp_replicate, "_shard", test.mesh.dp_shard, "_tp", test.mesh.tp,
             "_micro", test.micro_batches, test.reshard_after_forward ? "" : "_never");
  if (test.seq_len == kLong) name += "_long";
  if (test.process_group) name += "_process_group";
  for (Recompute recompute : test.recompute) name += concat("_", static_cast<int>(recompute));
  return name;
}

class StepOnMesh : public ::testing::TestWithParam<MeshCase> {};

DecoderConfig config_for(const MeshCase& test) {
  // 97 entries do not divide evenly, which tensor parallelism asks for.
  DecoderConfig config = small_model(test.recompute);
  if (test.mesh.tp == 1) return config;
  config = registry("llama3", "debugmodel",
                    {.n_layers = static_cast<int64_t>(test.recompute.size()),
                     .vocab_size = kVocab + 3,
                     .seq_len = 64});
  for (size_t i = 0; i < test.recompute.size(); ++i) config.layers[i].recompute = test.recompute[i];
  return config;
}

TEST_P(StepOnMesh, EqualsOneProcess) {
  const MeshCase& test = GetParam();
  const DecoderConfig config = config_for(test);
  SharderConfig sharding = in_fp64(test.micro_batches);
  sharding.reshard_after_forward = test.reshard_after_forward;
  const auto steps = two_steps(test.micro_batches, test.seq_len);

  const MeshOutcome one = run_on_mesh(config, sharding, {}, steps);
  std::optional<ProcessGroupsOnly> process_groups_only;
  if (test.process_group) process_groups_only.emplace();
  const MeshOutcome many = run_on_mesh(config, sharding, test.mesh, steps);

  expect_close(many.initial, one.initial, 0);
  EXPECT_NEAR(many.validation_loss, one.validation_loss, 1e-12 * one.validation_loss);
  for (size_t i = 0; i < steps.size(); ++i) {
    EXPECT_NEAR(many.losses[i], one.losses[i], 1e-9 * one.losses[i]) << "step " << i;
  }
  EXPECT_NEAR(many.grad_norm, one.grad_norm, 1e-6 * one.grad_norm);  // the norm is an fp32 number
  expect_close(many.gradients, one.gradients, 1e-6);
  expect_close(many.updated, one.updated, 1e-6);
}

// Tokens that travel rank by rank: the same values, summed in another order.
TEST(AsyncTensorParallel, EqualsOneProcess) {
  for (const MeshShape& mesh : {MeshShape{1, 1, 2}, MeshShape{1, 1, 4}, MeshShape{1, 2, 2}}) {
    const MeshCase test{mesh, 2, true, {Recompute::kNothing, Recompute::kBlock}, kLong};
    const DecoderConfig config = config_for(test);
    const auto steps = two_steps(test.micro_batches, test.seq_len);
    const MeshOutcome one = run_on_mesh(config, in_fp64(2), {}, steps);
    const MeshOutcome many = run_on_mesh(config, in_fp64(2), mesh, steps, true);
    EXPECT_NEAR(many.losses[1], one.losses[1], 1e-9 * one.losses[1]);
    expect_close(many.gradients, one.gradients, 1e-6);
    expect_close(many.updated, one.updated, 1e-6);
  }
}

TEST(TensorParallel, LossFromWholeLogitsIsTheSame) {
  const MeshCase test{{1, 1, 2}};
  const DecoderConfig config = config_for(test);
  const auto steps = two_steps(1, test.seq_len);
  const MeshOutcome parallel = run_on_mesh(config, in_fp64(1), test.mesh, steps);
  const MeshOutcome whole = run_on_mesh(config, in_fp64(1), test.mesh, steps, false, false);
  EXPECT_NEAR(whole.losses[1], parallel.losses[1], 1e-9 * parallel.losses[1]);
  EXPECT_NEAR(whole.validation_loss, parallel.validation_loss, 1e-9 * parallel.validation_loss);
  expect_close(whole.gradients, parallel.gradients, 1e-9);
}

// The largest tensor that this thread allocates while it lives, in bytes.
class LargestAllocation {
 public:
  int64_t bytes() const { return watch_->largest; }

 private:
  struct Watch : c10::MemoryReportingInfoBase {
    bool memoryProfilingEnabled() const override { return true; }
    void reportMemoryUsage(void*, int64_t size, size_t, size_t, c10::Device) override {
      largest = std::max(largest, size);
    }
    int64_t largest = 0;
  };
  std::shared_ptr<Watch> watch_ = std::make_shared<Watch>();
  c10::DebugInfoGuard guard_{c10::DebugInfoKind::PROFILER_STATE, watch_};
};

TEST(TensorParallel, NoRankHasLogitsOfTheWholeVocabulary) {
  // More tokens and words than any other extent: of all tensors the logits are the largest.
  constexpr int64_t kTokens = 1024, kWords = 2048;
  const DecoderConfig config =
      registry("llama3", "debugmodel", {.n_layers = 1, .vocab_size = kWords, .seq_len = kTokens});
  const MicroBatch batch = random_batch(1, kTokens, 1);
  for (const bool loss_parallel : {true, false}) {
    testing::on_every_rank(2, [&](World& world) {
      testing::MeshModel model(config, in_fp32(), {1, 1, 2}, world, loss_parallel);
      const LargestAllocation largest;
      model.step.evaluate(batch, scalar(0.1));
      model.step.forward_backward(batch, scalar(0.1));
      constexpr int64_t kLogits = kTokens * kWords * 4;
      EXPECT_EQ(largest.bytes(), loss_parallel ? kLogits / 2 : kLogits);
    });
  }
}

// More ranks than chunks of rows: the last one has nothing of the table and of the output weight.
TEST(StepOnRanksWithoutRows, EqualsOneProcess) {
  constexpr int64_t kWords = 9;
  const DecoderConfig config =
      registry("llama3", "debugmodel", {.n_layers = 1, .vocab_size = kWords, .seq_len = 64});
  auto steps = two_steps(2, kShort);
  for (std::vector<MicroBatch>& step : steps) {
    for (MicroBatch& batch : step) {
      batch.tokens.remainder_(kWords);
      batch.labels = at::where(batch.labels.ge(0), batch.labels.remainder(kWords), batch.labels);
    }
  }
  ASSERT_EQ(shard_rows(kWords, 4, 3).count, 0);
  const MeshOutcome one = run_on_mesh(config, in_fp64(2), {}, steps);
  const MeshOutcome many = run_on_mesh(config, in_fp64(2), {1, 4, 1}, steps);
  EXPECT_NEAR(many.losses[1], one.losses[1], 1e-9 * one.losses[1]);
  expect_close(many.gradients, one.gradients, 1e-6);
  expect_close(many.updated, one.updated, 1e-6);
}

// What two ranks send is in bf16, and their sum in fp32, whichever way it travels.
TEST(StepInBf16, CopiesGiveTheBitsOfTheProcessGroup) {
  const DecoderConfig config = config_for({{1, 2, 2}});
  const auto steps = two_steps(1, kLong);
  for (const MeshShape& mesh : {MeshShape{1, 2, 1}, MeshShape{2, 2, 1}, MeshShape{1, 2, 2}}) {
    const MeshOutcome copied = run_on_mesh(config, in_bf16(), mesh, steps);
    const ProcessGroupsOnly process_groups_only;
    const MeshOutcome sent = run_on_mesh(config, in_bf16(), mesh, steps);
    EXPECT_EQ(copied.losses, sent.losses);
    EXPECT_EQ(copied.validation_loss, sent.validation_loss);
    expect_close(copied.gradients, sent.gradients, 0);
    expect_close(copied.updated, sent.updated, 0);
  }
}

// training.dtype = "bfloat16": masters that a step rounds, each on the rank that stores it.
TEST(StepOfBf16Masters, EqualsOneProcess) {
  const DecoderConfig config = config_for({{1, 2, 2}});
  const auto steps = two_steps(2, kShort);
  SharderConfig sharding = in_fp32(2);
  sharding.parameter_dtype = at::kBFloat16;
  const MeshOutcome one = run_on_mesh(config, sharding, {}, steps);
  for (const MeshShape& mesh : {MeshShape{2, 2, 1}, MeshShape{1, 2, 2}}) {
    const MeshOutcome many = run_on_mesh(config, sharding, mesh, steps);
    expect_close(many.initial, one.initial, 0);
    EXPECT_NEAR(many.losses[0], one.losses[0], 1e-5 * one.losses[0]);
    for (const auto& [name, updated] : one.updated) {
      const at::Tensor& other = many.updated.at(name);
      ASSERT_EQ(other.scalar_type(), at::kBFloat16) << name;
      // Single values fall on the other side of a rounding.
      EXPECT_LT(other.ne(updated).to(at::kFloat).mean().item<double>(), 0.02) << name;
    }
  }
}

TEST(AsyncTensorParallel, QuantizesAsPlainTensorParallelDoes) {
  MeshCase test{{1, 1, 2}};
  DecoderConfig config = config_for(test);
  float8_linear_converter({.filter_fqns = {}, .emulate = true, .tokens = kRows * kShort})
      ->convert(config);
  const auto steps = two_steps(1, kShort);
  const MeshOutcome plain = run_on_mesh(config, in_fp32(), test.mesh, steps);
  const MeshOutcome async = run_on_mesh(config, in_fp32(), test.mesh, steps, true);
  EXPECT_NEAR(async.losses[1], plain.losses[1], 1e-5 * plain.losses[1]);
  // Rounding to float8 makes steps of the last bits of fp32.
  expect_close(async.gradients, plain.gradients, 1e-2);
}

INSTANTIATE_TEST_SUITE_P(
    Meshes, StepOnMesh,
    ::testing::Values(
        MeshCase{{1, 2, 1}}, MeshCase{{1, 4, 1}}, MeshCase{{1, 2, 1}, 2},
        MeshCase{{1, 2, 1}, 2, true, {kNothing}, kLong}, MeshCase{{1, 2, 1}, 1, false},
        MeshCase{{1, 2, 1}, 2, false}, MeshCase{{1, 2, 1}, 1, true, {kGateUp, kBlock}},
        MeshCase{{1, 2, 1}, 1, false, {kGateUp, kBlock}}, MeshCase{{2, 1, 1}},
        MeshCase{{2, 1, 1}, 2}, MeshCase{{2, 2, 1}}, MeshCase{{2, 2, 1}, 2}, MeshCase{{1, 1, 2}},
        MeshCase{{1, 1, 4}}, MeshCase{{1, 1, 2}, 2, true, {kGateUp, kBlock}}, MeshCase{{1, 2, 2}},
        MeshCase{{1, 2, 2}, 2, false, {kNothing}, kLong},
        MeshCase{{1, 2, 2}, 2, false, {kBlock, kGateUp}}, MeshCase{{2, 1, 2}}, MeshCase{{2, 2, 2}},
        MeshCase{{1, 4, 1}, 1, true, {kGateUp, kBlock}, kShort, true},
        MeshCase{{1, 2, 1}, 2, false, {kNothing}, kLong, true},
        MeshCase{{2, 2, 1}, 2, true, {kBlock}, kShort, true},
        MeshCase{{1, 2, 2}, 2, true, {kBlock, kGateUp}, kShort, true}),
    name_of);

// Float8 copies are of a rank's own tokens and of whole weights: as if one process accumulated the
// ranks' micro-batches.
class Float8StepOnMesh : public ::testing::TestWithParam<MeshCase> {};

TEST_P(Float8StepOnMesh, EqualsOneProcessThatAccumulates) {
  const MeshCase& test = GetParam();
  for (const Float8Recipe recipe : {Float8Recipe::kRowwise, Float8Recipe::kRowwiseWithGwHp}) {
    DecoderConfig config = small_model(test.recompute);
    float8_linear_converter(
        {.recipe = recipe, .filter_fqns = {"wk"}, .emulate = true, .tokens = kShort})
        ->convert(config);
    const int64_t ranks = test.mesh.data_ranks();
    std::vector<MicroBatch> own, all;  // micro-batches of one process; the same, of all ranks
    for (int64_t i = 0; i < ranks * test.micro_batches; ++i) {
      own.push_back(random_batch(1, kShort, static_cast<uint64_t>(i)));
    }
    for (int64_t i = 0; i < test.micro_batches; ++i) {
      std::vector<at::Tensor> tokens, labels;
      for (int64_t rank = 0; rank < ranks; ++rank) {
        tokens.push_back(own[static_cast<size_t>(i * ranks + rank)].tokens);
        labels.push_back(own[static_cast<size_t>(i * ranks + rank)].labels);
      }
      all.push_back({at::cat(tokens), at::cat(labels), ranks, kShort});
    }
    SharderConfig one_process = in_fp32(ranks * test.micro_batches);
    SharderConfig sharding = in_fp32(test.micro_batches);
    sharding.reshard_after_forward = test.reshard_after_forward;
    const MeshOutcome one = run_on_mesh(config, one_process, {}, {own});
    const MeshOutcome many = run_on_mesh(config, sharding, test.mesh, {all});
    EXPECT_NEAR(many.losses[0], one.losses[0], 1e-5 * one.losses[0]);
    expect_close(many.gradients, one.gradients, 1e-5);
    // In bf16 weights, as they train: what a rank sends of its gradients is rounded to bf16.
    sharding.compute_dtype = one_process.compute_dtype = at::kBFloat16;
    expect_close(run_on_mesh(config, sharding, test.mesh, {all}).gradients,
                 run_on_mesh(config, one_process, {}, {own}).gradients,
                 test.mesh.dp_shard > 1 ? 2.5e-3 : 1e-5);
  }
}

INSTANTIATE_TEST_SUITE_P(Meshes, Float8StepOnMesh,
                         ::testing::Values(MeshCase{{1, 2, 1}}, MeshCase{{1, 2, 1}, 2, false},
                                           MeshCase{{2, 1, 1}}, MeshCase{{2, 2, 1}},
                                           MeshCase{{1, 2, 1}, 1, false, {kGateUp, kBlock}},
                                           MeshCase{{1, 2, 1}, 1, true, {kGateUp, kBlock}}),
                         name_of);

double signal_to_noise(const at::Tensor& reference, const at::Tensor& actual) {
  return 20 *
         std::log10(reference.norm().item<double>() / (reference - actual).norm().item<double>());
}

// Tensor-parallel ranks take each amax over their own part, so values differ: no less like the
// step without float8 than one process's are.
TEST(Float8TensorParallel, KeepsTheSignal) {
  const MeshCase test{{1, 1, 2}};
  DecoderConfig config = config_for(test);
  const std::vector<std::vector<MicroBatch>> steps = {two_steps(1, kShort)[0]};
  const MeshOutcome exact = run_on_mesh(config, in_fp32(), {}, steps);
  float8_linear_converter({.filter_fqns = {}, .emulate = true, .tokens = kRows * kShort})
      ->convert(config);
  const MeshOutcome one = run_on_mesh(config, in_fp32(), {}, steps);
  const MeshOutcome two = run_on_mesh(config, in_fp32(), test.mesh, steps);
  EXPECT_NEAR(two.losses[0], one.losses[0], 2e-3 * one.losses[0]);
  for (const auto& [name, gradient] : exact.gradients) {
    const double of_one = signal_to_noise(gradient, one.gradients.at(name));
    const double of_two = signal_to_noise(gradient, two.gradients.at(name));
    EXPECT_GT(of_two, of_one - 1.5) << name;
    EXPECT_GT(of_two, 17) << name;
  }
}

}  // namespace
}  // namespace titan
