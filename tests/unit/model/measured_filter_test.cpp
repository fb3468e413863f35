// auto_filter_measured with a clock of our own: which choices are timed, and which one wins.
#include "lib/model/measured_filter.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <map>

#include "lib/base/error.hpp"
#include "lib/model/registry.hpp"

namespace titan {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

LinearGroupKind qkv() {
  return {.name = "layers.*.attention.",
          .m = 8192,
          .k = 4096,
          .members = {{"wq", 4096}, {"wk", 1024}, {"wv", 1024}}};
}

LinearGroupKind of_members(std::vector<LinearGroupKind::Member> members) {
  LinearGroupKind kind;
  kind.members = std::move(members);
  return kind;
}

// "wq|wv", "" for bf16 throughout.
std::string text(const LinearGroupKind& kind, const Float8Members& float8) {
  std::string text;
  for (size_t i = 0; i < float8.size(); ++i) {
    if (float8[i]) text += concat(text.empty() ? "" : "|", kind.members[i].name);
  }
  return text;
}

std::vector<std::string> choices_of(const LinearGroupKind& kind, const Float8Members& candidates) {
  std::vector<std::string> texts;
  for (const Float8Members& float8 : float8_choices(kind, candidates)) {
    texts.push_back(text(kind, float8));
  }
  return texts;
}

// A clock that knows the milliseconds of every choice by its text, and keeps what it was asked.
struct FakeClock {
  std::map<std::string, double> milliseconds = {};
  double otherwise = 1;
  std::vector<std::string> asked = {};

  std::vector<double> operator()(const LinearGroupKind& kind,
                                 const std::vector<Float8Members>& choices) {
    std::vector<double> times;
    for (const Float8Members& float8 : choices) {
      const std::string name = text(kind, float8);
      asked.push_back(name);
      auto found = milliseconds.find(name);
      times.push_back(found == milliseconds.end() ? otherwise : found->second);
    }
    return times;
  }
  MeasureGroup measure() {
    return [this](const LinearGroupKind& kind, const Float8Members& candidates) {
      return measure_group(kind, candidates, std::ref(*this));
    };
  }
};

std::string chosen(FakeClock clock, const Float8Members& candidates = {true, true, true}) {
  return text(qkv(), fastest_choice(measure_group(qkv(), candidates, std::ref(clock))));
}

TEST(Float8Choices, OneForEachSetOfSizes) {
  // wk and wv are alike: wv, wq|wk split the product once, wk and wq|wv twice.
  EXPECT_THAT(choices_of(qkv(), {true, true, true}),
              ElementsAre("", "wq|wk|wv", "wq", "wv", "wq|wk", "wk|wv"));
  const LinearGroupKind gate_up = of_members({{"w1", 14336}, {"w3", 14336}});
  EXPECT_THAT(choices_of(gate_up, {true, true}), ElementsAre("", "w1|w3", "w1"));
  const LinearGroupKind down = of_members({{"w2", 4096}});
  EXPECT_THAT(choices_of(down, {true}), ElementsAre("", "w2"));
  const LinearGroupKind different = of_members({{"a", 16}, {"b", 32}, {"c", 48}});
  EXPECT_EQ(float8_choices(different, {true, true, true}).size(), 8u);
}

TEST(Float8Choices, OnlyCandidates) {
  EXPECT_THAT(choices_of(qkv(), {true, false, true}), ElementsAre("", "wq|wv", "wq", "wv"));
  EXPECT_THAT(choices_of(qkv(), {false, true, false}), ElementsAre("", "wk"));
}

TEST(FastestChoice, NeedsTwoPercent) {
  EXPECT_EQ(chosen({.milliseconds = {{"wq|wk|wv", 0.979}}}), "wq|wk|wv");
  EXPECT_EQ(chosen({.milliseconds = {{"wq|wk|wv", 0.98}}}), "wq|wk|wv");
  EXPECT_EQ(chosen({.milliseconds = {{"wq|wk|wv", 0.981}}}), "");
  EXPECT_EQ(chosen({.milliseconds = {{"wq|wk|wv", 1.5}}}), "");
  EXPECT_EQ(chosen({}), "");
}

TEST(FastestChoice, MixedMembers) {
  EXPECT_EQ(chosen({.milliseconds = {{"wq|wk|wv", 0.9}, {"wq", 0.85}, {"wk|wv", 0.88}}}), "wq");
  // The bar is bf16 throughout, also for a mix.
  EXPECT_EQ(chosen({.milliseconds = {{"wq|wk|wv", 1.1}, {"wq", 0.985}}}), "");
  EXPECT_EQ(chosen({.milliseconds = {{"wq|wk|wv", 1.1}, {"wq", 0.97}}}), "wq");
  EXPECT_EQ(chosen({.milliseconds = {{"wq|wv", 0.9}, {"wv", 0.8}}}, {true, false, true}), "wv");
}

TEST(FastestChoice, OfEqualsTheOneWithMoreInFloat8) {
  EXPECT_EQ(chosen({.milliseconds = {{"wq|wk|wv", 0.9}, {"wq", 0.9}, {"wq|wk", 0.9}}}), "wq|wk|wv");
}

TEST(MeasureGroup, MixesAreTimedWhereNoneAndAllAreClose) {
  for (const auto& [float8, mixes] :
       {std::pair{0.79, false}, {0.81, true}, {1.24, true}, {1.26, false}}) {
    FakeClock clock{.milliseconds = {{"wq|wk|wv", float8}}};
    const GroupMeasurement measurement = measure_group(qkv(), {true, true, true}, std::ref(clock));
    EXPECT_EQ(measurement.choices.size(), mixes ? 6u : 2u) << float8;
    EXPECT_EQ(clock.asked.size(), mixes ? 8u : 2u) << float8;
  }
}

TEST(MeasureGroup, RefusesWhatNoClockSays) {
  for (double wrong : {0.0, -1.0, std::numeric_limits<double>::quiet_NaN(),
                       std::numeric_limits<double>::infinity()}) {
    FakeClock clock{.milliseconds = {{"wq", wrong}}};
    EXPECT_THROW(measure_group(qkv(), {true, true, true}, std::ref(clock)), Error) << wrong;
  }
}

// ---- Through the converter ----

struct Conversion {
  ConversionReport report;
  DecoderConfig model;
  std::map<std::string, std::string> reasons;
  std::vector<std::string> float8;  // names
};

Conversion convert(const MeasureGroup& measure, std::vector<std::string> filter, int64_t layers = 1,
                   int64_t tokens = 16384, Float8Recipe recipe = Float8Recipe::kRowwise) {
  Conversion result{{}, registry("llama3", "8B", {.n_layers = layers}), {}, {}};
  filter.push_back("auto_filter_measured");
  result.report =
      float8_linear_converter(
          {.recipe = recipe, .filter_fqns = filter, .tokens = tokens, .measure = measure})
          ->convert(result.model);
  size_t row = 0;
  for_each_linear(result.model, [&](const std::string& name, LinearConfig& linear, LinearGroup&) {
    const ConversionRow& said = result.report.rows[row++];
    EXPECT_EQ(said.name, name);
    EXPECT_EQ(said.converted, linear.float8.has_value()) << name;
    if (linear.float8) {
      EXPECT_EQ(*linear.float8, recipe);
      result.float8.push_back(name);
    }
    result.reasons[name] = said.reason;
  });
  return result;
}

TEST(MeasuredFilter, SaysWhatItMeasured) {
  FakeClock clock{.milliseconds = {{"wq|wk|wv", 0.9},
                                   {"wq|wk", 0.8},
                                   {"w1|w3", 0.7},
                                   {"w2", 1.2345},
                                   {"wo", 0.985}},
                  .otherwise = 1};
  auto [report, model, reasons, float8] = convert(clock.measure(), {"output"});
  EXPECT_THAT(float8, ElementsAre("layers.0.attention.wq", "layers.0.attention.wk",
                                  "layers.0.feed_forward.w1", "layers.0.feed_forward.w3"));
  EXPECT_EQ(reasons["layers.0.attention.wq"], "measured 0.800 ms against 1.000 ms in bf16");
  EXPECT_EQ(reasons["layers.0.attention.wv"], "measured 0.900 ms against 0.800 ms with it in bf16");
  EXPECT_EQ(reasons["layers.0.attention.wo"],
            "measured 0.985 ms against 1.000 ms in bf16, gains less than 2 %");
  EXPECT_EQ(reasons["layers.0.feed_forward.w3"], "measured 0.700 ms against 1.000 ms in bf16");
  EXPECT_EQ(reasons["layers.0.feed_forward.w2"], "measured 1.234 ms against 1.000 ms in bf16");
  EXPECT_EQ(reasons["output"], "filter_fqns \"output\"");
  EXPECT_EQ(report.summary(), "float8 rowwise: 4 of 8 linears");
  for (const char* line :
       {"float8: measured 0.800 ms against 1.000 ms in bf16",
        "not: measured 0.985 ms against 1.000 ms in bf16, gains less than 2 %",
        "  layers.*.attention.wq|wk|wv      M  16384  bf16 1.000  float8 0.900  float8 wq 1.000  "
        "float8 wv 1.000  float8 wq|wk 0.800  float8 wk|wv 1.000",
        "  layers.*.feed_forward.w2         M  16384  bf16 1.000  float8 1.234"}) {
    EXPECT_THAT(report.table(), HasSubstr(line));
  }
  EXPECT_THAT(report.notes, IsEmpty());
}

TEST(MeasuredFilter, EachKindOfGroupIsTimedOnce) {
  FakeClock clock{.milliseconds = {{"wq|wk|wv", 0.5}, {"wo", 0.5}, {"w1|w3", 0.5}, {"w2", 0.5}}};
  const Conversion done = convert(clock.measure(), {"output"}, /*layers=*/32);
  EXPECT_THAT(clock.asked, ElementsAre("", "wq|wk|wv", "", "wo", "", "w1|w3", "", "w2"));
  EXPECT_EQ(done.report.converted(), 32 * 7);
  EXPECT_EQ(done.report.measurements.size(), 4u);
}

TEST(MeasuredFilter, WhatTheNamesLeaveOutStaysOut) {
  FakeClock clock{.otherwise = 1};
  for (const char* name : {"wq", "wq|wv", "w1", "w1|w3", "output"}) clock.milliseconds[name] = 0.5;
  auto [report, model, reasons, float8] =
      convert(clock.measure(), {"wk", "layers.1.feed_forward.w3", "w2", "wo"}, /*layers=*/2);
  EXPECT_EQ(reasons["layers.0.attention.wk"], "filter_fqns \"wk\"");
  EXPECT_EQ(reasons["layers.1.feed_forward.w2"], "filter_fqns \"w2\"");
  EXPECT_THAT(float8, ElementsAre("layers.0.attention.wq", "layers.0.attention.wv",
                                  "layers.0.feed_forward.w1", "layers.0.feed_forward.w3",
                                  "layers.1.attention.wq", "layers.1.attention.wv",
                                  "layers.1.feed_forward.w1", "output"));
  // w2 and wo have nothing to decide; w1 with w3 and w1 alone are two kinds.
  EXPECT_EQ(report.measurements.size(), 4u);
  EXPECT_THAT(report.warnings, IsEmpty());
}

TEST(MeasuredFilter, WhatDoesNotDivideIsNotTimed) {
  FakeClock clock;
  const Conversion odd = convert(clock.measure(), {}, 1, /*tokens=*/8191);
  EXPECT_THAT(clock.asked, IsEmpty());
  EXPECT_EQ(odd.report.rows.front().reason, "M is no multiple of 16");
}

TEST(MeasuredFilter, WorksBesideTheThresholdsAndForBothRecipes) {
  FakeClock clock{.milliseconds = {{"wq", 0.5}}};
  Conversion done = convert(clock.measure(), {"auto_filter_small_kn"});
  EXPECT_EQ(done.reasons["layers.0.attention.wk"], "N 1024 <= 2048");
  EXPECT_THAT(done.float8, ElementsAre("layers.0.attention.wq"));
  done = convert(clock.measure(), {"wk", "wv"}, 1, 16384, Float8Recipe::kRowwiseWithGwHp);
  EXPECT_THAT(done.float8, ElementsAre("layers.0.attention.wq"));
}

TEST(MeasuredFilter, KindsCarryWhatTheirTimeDependsOn) {
  std::map<std::string, LinearGroupKind> kinds;
  convert(
      [&](const LinearGroupKind& kind, const Float8Members& candidates) {
        kinds[kind.members.front().name] = kind;
        return measure_group(kind, candidates, FakeClock{});
      },
      {});
  ASSERT_EQ(kinds.size(), 5u);
  using Place = LinearGroupKind::Place;
  EXPECT_EQ(kinds["wq"].place, Place::kQkv);
  EXPECT_EQ(kinds["wo"].place, Place::kWo);
  EXPECT_EQ(kinds["w1"].place, Place::kGateUp);
  EXPECT_EQ(kinds["w2"].place, Place::kDown);
  EXPECT_EQ(kinds["w2"].k, 14336);
  EXPECT_EQ(kinds["w2"].m, 16384);
  EXPECT_EQ(kinds["output"].place, Place::kOutput);
  EXPECT_EQ(kinds["output"].m, 16384);
}

TEST(MeasuredFilter, WithoutAClockAllThatDividesIsKept) {
  const Conversion done = convert(nullptr, {"output"});
  EXPECT_EQ(done.report.converted(), 7);
  EXPECT_THAT(done.report.notes, ElementsAre(HasSubstr("nothing can be measured")));
  EXPECT_THAT(done.report.table(), HasSubstr("auto_filter_measured: nothing can be measured"));
  EXPECT_THAT(done.report.warnings, IsEmpty());
}

}  // namespace
}  // namespace titan
