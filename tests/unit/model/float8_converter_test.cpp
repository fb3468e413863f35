// Which linears the float8 converter takes, and what its report says of the rest.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "lib/base/error.hpp"
#include "lib/model/converter.hpp"
#include "lib/model/declare.hpp"
#include "lib/model/registry.hpp"

namespace titan {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

ConversionReport convert(DecoderConfig& model, std::vector<std::string> filter,
                         int64_t tokens = 8192, Float8Recipe recipe = Float8Recipe::kRowwise) {
  return float8_linear_converter(
             {.recipe = recipe, .filter_fqns = std::move(filter), .tokens = tokens})
      ->convert(model);
}

std::map<std::string, std::string> reasons(const ConversionReport& report) {
  std::map<std::string, std::string> reasons;
  for (const ConversionRow& row : report.rows) reasons[row.name] = row.reason;
  return reasons;
}

TEST(Float8Converter, TakesAllButTheFiltered) {
  DecoderConfig model = registry("llama3", "8B", {.n_layers = 2});
  const ConversionReport report = convert(model, {"output"});
  EXPECT_EQ(report.summary(), "float8 rowwise: 14 of 15 linears");
  EXPECT_EQ(reasons(report)["output"], "filter_fqns \"output\"");
  EXPECT_THAT(report.warnings, IsEmpty());
  for_each_linear(model, [](const std::string& name, LinearConfig& linear, LinearGroup&) {
    EXPECT_EQ(linear.float8.has_value(), name != "output") << name;
  });
  EXPECT_THAT(report.table(), HasSubstr("layers.*.attention.wk"));
}

// torchao's pinned cases and the table of what its filter leaves in bf16.
TEST(Float8Converter, AutoFilterHasTorchaosThresholds) {
  for (const char* flavor : {"8B", "70B", "405B"}) {
    DecoderConfig model = registry("llama3", flavor, {.n_layers = 1});
    auto found = reasons(convert(model, {"auto_filter_small_kn"}));
    for (const auto& [name, reason] : found) {
      const bool small = name.ends_with("wk") || name.ends_with("wv");
      EXPECT_EQ(!reason.empty(), small) << flavor << " " << name << " " << reason;
    }
    EXPECT_EQ(found["layers.0.attention.wk"], "N 1024 <= 2048");
  }
  DecoderConfig debug = registry("llama3", "debugmodel", {});
  EXPECT_EQ(convert(debug, {"auto_filter_small_kn"}).converted(), 0);
}

// The thresholds of the other recipe are in small_linears_test.cpp.
TEST(Float8Converter, AutoFilterOfTheOtherRecipe) {
  const auto recipe = Float8Recipe::kRowwiseWithGwHp;
  DecoderConfig model = registry("llama3", "8B", {});
  EXPECT_EQ(convert(model, {"auto_filter_small_kn"}, 8192, recipe).converted(), 32 * 7 + 1);
  DecoderConfig debug = registry("llama3", "debugmodel", {});
  EXPECT_EQ(
      reasons(convert(debug, {"auto_filter_small_kn"}, 8192, recipe))["layers.0.attention.wk"],
      "K 256 and N 256 < 4096, one < 2048");
}

TEST(Float8Converter, SubstringsMatchAsUpstream) {
  DecoderConfig model = registry("llama3", "8B", {.n_layers = 12});
  EXPECT_EQ(convert(model, {"w1"}).converted(), 12 * 7 + 1 - 12);
  model = registry("llama3", "8B", {.n_layers = 12});
  EXPECT_EQ(convert(model, {"layers.1."}).converted(), 11 * 7 + 1);
}

// The filters taken over from upstream see whole linears; the products their parts.
TEST(Float8Converter, TensorParallelPartsMustDivideToo) {
  DecoderConfig model = registry("llama3", "debugmodel", {.n_layers = 1, .vocab_size = 2000});
  const auto convert_split = [&](std::vector<std::string> filter, int64_t tp) {
    return float8_linear_converter({.filter_fqns = std::move(filter), .tokens = 8192, .tp = tp})
        ->convert(model);
  };
  // 2000 words are 125 x 16, but 500 on a rank are not.
  ConversionReport report = convert_split({}, 4);
  EXPECT_EQ(reasons(report)["output"], "N / 4 = 500 is no multiple of 16");
  EXPECT_EQ(report.converted(), 7);
  EXPECT_EQ(report.rows[6].name, "layers.0.feed_forward.w2");
  EXPECT_EQ(report.rows[6].k, 768);
  EXPECT_EQ(report.rows[6].own_k, 192);
  EXPECT_EQ(report.rows[6].own_n, 256);
  EXPECT_THAT(report.table(), HasSubstr("K     768/4  N       256  float8"));

  model = registry("llama3", "8B", {.n_layers = 1});
  report = convert_split({"auto_filter_small_kn"}, 8);
  EXPECT_EQ(reasons(report)["layers.0.attention.wq"], "");  // N 512 on a rank, 4096 for the filter
  EXPECT_EQ(reasons(report)["layers.0.attention.wk"], "N 1024 <= 2048");
}

TEST(Float8Converter, NamesWhatDoesNotDivide) {
  DecoderConfig model = registry("llama3", "debugmodel", {.n_layers = 1, .vocab_size = 1000});
  EXPECT_EQ(reasons(convert(model, {}))["output"], "N is no multiple of 16");
  model = registry("llama3", "debugmodel", {.n_layers = 1});
  model.output.members[0].in_features = 250;
  EXPECT_EQ(reasons(convert(model, {}))["output"], "K is no multiple of 16");
  model = registry("llama3", "debugmodel", {.n_layers = 1});
  const ConversionReport odd = convert(model, {}, /*tokens=*/8191);
  EXPECT_EQ(odd.converted(), 0);
  EXPECT_EQ(odd.rows.front().reason, "M is no multiple of 16");
}

TEST(Float8Converter, WarnsOfAFilterThatMatchesNothing) {
  DecoderConfig model = registry("llama3", "debugmodel", {.n_layers = 1});
  EXPECT_THAT(
      convert(model, {"ouput"}).warnings,
      ElementsAre(HasSubstr("\"ouput\" matches no linear; the nearest name is \"output\"")));
  // What an earlier entry has taken out already is no fault of a later one.
  model = registry("llama3", "debugmodel", {.n_layers = 1});
  EXPECT_THAT(convert(model, {"attention", "wq", "wq"}).warnings, IsEmpty());
}

TEST(Float8Converter, MembersOfEqualPrecisionAreOneRun) {
  DecoderConfig model = registry("llama3", "8B", {.n_layers = 1});
  auto runs = [&](const LinearGroup& group) { return declare_linears(group, "").runs; };
  convert(model, {});
  EXPECT_EQ(runs(model.layers[0].attention.qkv).size(), 1u);

  model = registry("llama3", "8B", {.n_layers = 1});
  convert(model, {"wk", "wv"});
  const auto split = runs(model.layers[0].attention.qkv);
  ASSERT_EQ(split.size(), 2u);
  EXPECT_TRUE(split[0].recipe.has_value());
  EXPECT_EQ(split[0].rows, 4096);
  EXPECT_FALSE(split[1].recipe.has_value());
  EXPECT_EQ(split[1].first_row, 4096);
  EXPECT_EQ(split[1].rows, 2048);
}

}  // namespace
}  // namespace titan
