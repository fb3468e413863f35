// The flavours as torchtitan v0.2.2 has them, and what is answered from the tree alone.
#include "lib/model/registry.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lib/base/error.hpp"
#include "lib/model/decoder.hpp"

namespace titan {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

struct Expected {
  const char* flavor;
  int64_t dim, layers, heads, kv_heads, hidden, vocab, parameters;
};
constexpr Expected kFlavors[] = {
    {"debugmodel", 256, 6, 16, 16, 768, 2048, 6'163'712},
    {"8B", 4096, 32, 32, 8, 14336, 128256, 8'030'261'248},
    {"70B", 8192, 80, 64, 8, 28672, 128256, 70'553'706'496},
    {"405B", 16384, 126, 128, 8, 53248, 128256, 405'853'388'800},
};

int64_t declared_elements(const DecoderConfig& model) {
  int64_t sum = 0;
  for (const Unit& unit : declare_units(model)) {
    for (const Parameter& parameter : unit.parameters) sum += parameter.size();
  }
  return sum;
}

std::string refusal(const std::string& name, const std::string& flavor) {
  try {
    registry(name, flavor, {});
  } catch (const InputError& error) {
    return error.what();
  }
  ADD_FAILURE() << name << " " << flavor << " was not refused";
  return "";
}

TEST(Registry, FlavoursHaveTheirSizes) {
  for (const Expected& expected : kFlavors) {
    SCOPED_TRACE(expected.flavor);
    const DecoderConfig model = registry("llama3", expected.flavor, {.seq_len = 4096});
    EXPECT_EQ(model.name, "llama3");
    EXPECT_EQ(model.flavor, expected.flavor);
    EXPECT_EQ(model.max_seq_len, 4096);
    EXPECT_EQ(model.embedding.dim, expected.dim);
    EXPECT_EQ(model.embedding.vocab_size, expected.vocab);
    ASSERT_EQ(static_cast<int64_t>(model.layers.size()), expected.layers);
    for (const BlockConfig& block : model.layers) {
      const AttentionConfig& attention = block.attention;
      EXPECT_EQ(attention.heads, expected.heads);
      EXPECT_EQ(attention.kv_heads, expected.kv_heads);
      EXPECT_EQ(attention.head_dim * attention.heads, expected.dim);
      EXPECT_EQ(attention.rope.theta, 500000);
      ASSERT_TRUE(attention.rope.scaling);
      EXPECT_EQ(attention.rope.scaling->factor, 8);
      EXPECT_EQ(attention.rope.scaling->low_freq_factor, 1);
      EXPECT_EQ(attention.rope.scaling->high_freq_factor, 4);
      EXPECT_EQ(attention.rope.scaling->original_max_position, 8192);
      EXPECT_EQ(block.feed_forward.hidden, expected.hidden);
      EXPECT_EQ(block.attention_norm.eps, 1e-5);
      EXPECT_EQ(block.ffn_norm.eps, 1e-5);
    }
    EXPECT_EQ(model.norm.eps, 1e-5);
  }
}

TEST(Registry, CountsMatchTheDeclaredParameters) {
  for (const Expected& expected : kFlavors) {
    SCOPED_TRACE(expected.flavor);
    const DecoderConfig model = registry("llama3", expected.flavor, {});
    const ParameterCount count = count_parameters(model);
    EXPECT_EQ(count.total, expected.parameters);
    EXPECT_EQ(count.embedding, expected.dim * expected.vocab);
    EXPECT_EQ(declared_elements(model), expected.parameters);
  }
}

TEST(Registry, OverridesCutAFlavourDown) {
  const DecoderConfig full = registry("llama3", "8B", {});
  const DecoderConfig cut = registry("llama3", "8B", {.n_layers = 16, .vocab_size = 1000});
  EXPECT_EQ(cut.layers.size(), 16u);
  EXPECT_EQ(cut.embedding.vocab_size, 1000);
  EXPECT_EQ(cut.output.out_features(), 1000);
  const int64_t layer = 218'112'000;  // attention 41,943,040, feed-forward 176,160,768, norms 8,192
  EXPECT_EQ(count_parameters(full).total - count_parameters(cut).total,
            16 * layer + 2 * (128256 - 1000) * 4096);
}

TEST(Registry, RefusesFlavoursWithoutTheirAttentionByName) {
  for (const char* flavor :
       {"debugmodel_flex_attn", "debugmodel_varlen_attn", "8B_flex", "8B_varlen"}) {
    EXPECT_THAT(refusal("llama3", flavor),
                testing::AllOf(HasSubstr(flavor), HasSubstr("not supported yet"),
                               HasSubstr("debugmodel, 8B, 70B, 405B")));
  }
}

TEST(Registry, RefusesTheUnknownWithTheChoices) {
  EXPECT_THAT(refusal("llama3", "9B"),
              testing::AllOf(HasSubstr("\"9B\""), HasSubstr("debugmodel, 8B, 70B, 405B")));
  EXPECT_THAT(refusal("deepseek_v3", "16B"),
              testing::AllOf(HasSubstr("\"deepseek_v3\""), HasSubstr("llama3")));
}

TEST(DecoderConfig, VisitsLinearsInForwardOrderAndLetsThemChange) {
  DecoderConfig model = registry("llama3", "8B", {.n_layers = 2});
  std::vector<std::string> names;
  std::vector<size_t> members;
  for_each_linear(model, [&](const std::string& name, LinearConfig& linear, LinearGroup& group) {
    names.push_back(name);
    members.push_back(group.members.size());
    EXPECT_EQ(linear.in_features, group.in_features()) << name;
    linear.out_features = 1;
  });
  EXPECT_THAT(
      names,
      ElementsAre("layers.0.attention.wq", "layers.0.attention.wk", "layers.0.attention.wv",
                  "layers.0.attention.wo", "layers.0.feed_forward.w1", "layers.0.feed_forward.w3",
                  "layers.0.feed_forward.w2", "layers.1.attention.wq", "layers.1.attention.wk",
                  "layers.1.attention.wv", "layers.1.attention.wo", "layers.1.feed_forward.w1",
                  "layers.1.feed_forward.w3", "layers.1.feed_forward.w2", "output"));
  EXPECT_THAT(members, ElementsAre(3, 3, 3, 1, 2, 2, 1, 3, 3, 3, 1, 2, 2, 1, 1));
  EXPECT_EQ(model.layers[1].attention.qkv.out_features(), 3);
}

TEST(DecoderConfig, DescriptionNamesEveryModuleAndWhatIsRecomputed) {
  DecoderConfig model = registry("llama3", "8B", {});
  model.layers.back().recompute = Recompute::kBlock;
  const std::string text = describe(model);
  for (const char* part :
       {"tok_embeddings: [128256, 4096]", "layers.0 to layers.30, each:", "layers.31:",
        "32 heads of 128, 8 key/value heads", "wq [4096, 4096], wk [1024, 4096], wv [1024, 4096]",
        "w1 [14336, 4096], w3 [14336, 4096]", "w2 [4096, 14336]", "recomputed in backward: nothing",
        "recomputed in backward: the block", "output [128256, 4096]"}) {
    EXPECT_THAT(text, HasSubstr(part));
  }
}

}  // namespace
}  // namespace titan
