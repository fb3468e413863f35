// Initial values of a whole model: torchtitan's distribution for every tensor, and the same values
// however the model is cut into parameters.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "lib/model/declare.hpp"
#include "lib/model/decoder.hpp"
#include "lib/model/registry.hpp"

namespace titan {
namespace {

constexpr uint64_t kSeed = 11;

std::map<std::string, at::Tensor> initialised(std::vector<Unit> units) {
  const ops::Device device = ops::Device::cpu();
  Sharder sharder(std::move(units), {.compute_dtype = at::kFloat}, device);
  sharder.initialise(kSeed);
  std::map<std::string, at::Tensor> values;
  for (const Parameter* parameter : sharder.parameters()) {
    for (size_t i = 0; i < parameter->members.size(); ++i) {
      values[parameter->members[i].name] = parameter->member_rows(parameter->master, i);
    }
  }
  return values;
}

DecoderConfig debug_model(int64_t layers) {
  return registry("llama3", "debugmodel", {.n_layers = layers, .vocab_size = 300});
}

void expect_normal(const at::Tensor& values, double std, const std::string& name) {
  const double n = static_cast<double>(values.numel());
  const at::Tensor z = values.to(at::kDouble) / std;
  EXPECT_NEAR(z.mean().item<double>(), 0, 5 / std::sqrt(n)) << name;
  EXPECT_NEAR(z.std().item<double>(), 1, 5 / std::sqrt(2 * n)) << name;
}

TEST(Initialisation, EveryTensorHasTorchtitansDistribution) {
  const auto values = initialised(declare_units(debug_model(3)));
  for (int layer = 0; layer < 3; ++layer) {
    const std::string prefix = "layers." + std::to_string(layer) + ".";
    const double depth_std = 0.02 / std::sqrt(2.0 * (layer + 1));
    for (const char* name : {"attention.wq", "attention.wk", "attention.wv", "feed_forward.w1"}) {
      expect_normal(values.at(prefix + name + ".weight"), 0.02, prefix + name);
    }
    for (const char* name : {"attention.wo", "feed_forward.w2", "feed_forward.w3"}) {
      expect_normal(values.at(prefix + name + ".weight"), depth_std, prefix + name);
    }
    for (const char* name : {"attention_norm", "ffn_norm"}) {
      EXPECT_TRUE(at::equal(values.at(prefix + name + ".weight"), at::ones({256})));
    }
  }
  EXPECT_TRUE(at::equal(values.at("norm.weight"), at::ones({256})));
  expect_normal(values.at("tok_embeddings.weight"), 1, "tok_embeddings");
  EXPECT_EQ(values.size(), 3u + 3 * 9);
}

TEST(Initialisation, OutputIsCutAtThreeStandardDeviations) {
  const at::Tensor output = initialised(declare_units(debug_model(1))).at("output.weight");
  const double std = 1 / std::sqrt(256.0), cut = 3 * std;
  EXPECT_LE(output.abs().max().item<double>(), cut);
  EXPECT_GT(output.abs().max().item<double>(), 0.99 * cut);
  // Variance of a standard normal cut at +-3: 1 - 6 phi(3) / (2 Phi(3) - 1).
  expect_normal(output, std * std::sqrt(1 - 6 * 0.00443184841194 / 0.99730020393674), "output");
}

TEST(Initialisation, ValuesDoNotDependOnTheGrouping) {
  const auto whole = initialised(declare_units(debug_model(2)));
  const BlockConfig block = debug_model(2).layers[1];
  for (const LinearGroup& group : {block.attention.qkv, block.feed_forward.gate_up}) {
    for (const LinearConfig& member : group.members) {
      const char* folder =
          group.members.size() == 3 ? "layers.1.attention." : "layers.1.feed_forward.";
      const LinearGroup alone{{member}};
      const auto values = initialised({{"alone", {declare_linears(alone, folder)}}});
      ASSERT_EQ(values.size(), 1u);
      const auto& [name, tensor] = *values.begin();
      EXPECT_TRUE(at::equal(tensor, whole.at(name))) << name;
    }
  }
}

TEST(Initialisation, TensorsDifferFromEachOtherButNotBetweenDepths) {
  const auto one = initialised(declare_units(debug_model(1)));
  const auto two = initialised(declare_units(debug_model(2)));
  for (const auto& [name, tensor] : one) EXPECT_TRUE(at::equal(tensor, two.at(name))) << name;
  EXPECT_FALSE(
      at::equal(two.at("layers.0.attention.wq.weight"), two.at("layers.1.attention.wq.weight")));
  EXPECT_FALSE(
      at::equal(two.at("layers.0.attention.wq.weight"), two.at("layers.0.attention.wk.weight")));
}

TEST(Initialisation, ComputeCopiesAreTheRoundedMasters) {
  const ops::Device device = ops::Device::cpu();
  Sharder sharder(declare_units(debug_model(1)), {.compute_dtype = at::kBFloat16}, device);
  sharder.initialise(kSeed);
  for (const Parameter* parameter : sharder.parameters()) {
    EXPECT_EQ(parameter->compute.scalar_type(), at::kBFloat16);
    EXPECT_TRUE(at::equal(parameter->compute, parameter->master.to(at::kBFloat16)));
  }
}

}  // namespace
}  // namespace titan
