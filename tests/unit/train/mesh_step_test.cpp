// A step on any mesh is the step of one process: losses, every gradient, the norm, the new weights.
#include "lib/base/error.hpp"
#include "tests/unit/train/mesh_run.hpp"

namespace titan {
namespace {

using testing::MeshOutcome;
using testing::NamedTensors;
using testing::run_on_mesh;

// Tokens so few that the embedding exchanges its outputs, and so many that the table is gathered.
constexpr int64_t kShort = 24, kLong = 48;
constexpr int64_t kRows = 4;  // sequences of a micro-batch over all ranks

SharderConfig in_fp64(int64_t micro_batches) {
  return {.parameter_dtype = at::kDouble,
          .compute_dtype = at::kDouble,
          .reduce_dtype = at::kDouble,
          .micro_batches = micro_batches};
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
};

std::string name_of(const ::testing::TestParamInfo<MeshCase>& info) {
  const MeshCase& test = info.param;
  std::string name =
      concat("replicate", test.mesh.dp_replicate, "_shard", test.mesh.dp_shard, "_tp", test.mesh.tp,
             "_micro", test.micro_batches, test.reshard_after_forward ? "" : "_never");
  if (test.seq_len == kLong) name += "_long";
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

constexpr Recompute kNothing = Recompute::kNothing, kGateUp = Recompute::kGateUp,
                    kBlock = Recompute::kBlock;
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
        MeshCase{{1, 2, 2}, 2, false, {kBlock, kGateUp}}, MeshCase{{2, 1, 2}}, MeshCase{{2, 2, 2}}),
    name_of);

}  // namespace
}  // namespace titan
