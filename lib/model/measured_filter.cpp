#include "lib/model/measured_filter.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "lib/base/error.hpp"

namespace titan {
namespace {

constexpr double kNeededShare = 0.98;  // of the time in bf16
constexpr double kCloseBy = 1.25;      // the slower of two over the faster
constexpr size_t kNone = 0, kAll = 1;  // the places of these choices

size_t count_runs(const Float8Members& float8) {
  size_t runs = 1;
  for (size_t i = 1; i < float8.size(); ++i) runs += float8[i] != float8[i - 1];
  return runs;
}

// What tells one choice from another: the sizes of the members it converts.
std::vector<int64_t> converted_sizes(const LinearGroupKind& kind, const Float8Members& float8) {
  std::vector<int64_t> sizes;
  for (size_t i = 0; i < float8.size(); ++i) {
    if (float8[i]) sizes.push_back(kind.members[i].n);
  }
  std::sort(sizes.begin(), sizes.end());
  return sizes;
}

void add_times(GroupMeasurement& measurement, const std::vector<Float8Members>& choices,
               const TimeLinearGroup& time) {
  const std::vector<double> milliseconds = time(measurement.kind, choices);
  TITAN_CHECK(milliseconds.size() == choices.size(), "timed ", milliseconds.size(), " of ",
              choices.size(), " choices of a group of linears");
  measurement.choices.clear();
  for (size_t i = 0; i < choices.size(); ++i) {
    TITAN_CHECK(std::isfinite(milliseconds[i]) && milliseconds[i] > 0,
                "a group of linears was measured to take ", milliseconds[i], " ms");
    measurement.choices.push_back({choices[i], milliseconds[i]});
  }
}

// ---- The groups of a model ----

struct VisitedGroup {
  LinearGroupKind kind;
  LinearGroup& group;
};

// In the order of for_each_linear().
std::vector<VisitedGroup> groups_of(DecoderConfig& model) {
  using Place = LinearGroupKind::Place;
  std::vector<VisitedGroup> groups;
  auto add = [&](LinearGroup& group, const char* name, Place place) {
    LinearGroupKind kind{.name = name, .place = place, .k = group.in_features(), .members = {}};
    for (const LinearConfig& linear : group.members) {
      kind.members.push_back({linear.name, linear.out_features});
    }
    groups.push_back({std::move(kind), group});
  };
  for (BlockConfig& block : model.layers) {
    add(block.attention.qkv, "layers.*.attention.", Place::kQkv);
    add(block.attention.wo, "layers.*.attention.", Place::kWo);
    add(block.feed_forward.gate_up, "layers.*.feed_forward.", Place::kGateUp);
    add(block.feed_forward.down, "layers.*.feed_forward.", Place::kDown);
  }
  add(model.output, "", Place::kOutput);
  return groups;
}

// The groups of `model`, their kinds as a rank computes them.
std::vector<VisitedGroup> groups_as_split(DecoderConfig& model, int64_t tokens, int64_t tp) {
  DecoderConfig part = tensor_parallel_part(model, tp);
  const std::vector<VisitedGroup> parts = groups_of(part);
  std::vector<VisitedGroup> groups = groups_of(model);
  for (size_t i = 0; i < groups.size(); ++i) {
    groups[i].kind = parts[i].kind;
    groups[i].kind.m = tokens;
    groups[i].kind.tp = tp;
  }
  return groups;
}

// ---- What was measured, in words ----

std::string against(double milliseconds, double other) {
  char text[100];
  std::snprintf(text, sizeof text, "measured %.3f ms against %.3f ms", milliseconds, other);
  return text;
}

// Of a candidate that stays in bf16 or goes to float8.
std::string reason(const GroupMeasurement& measurement, const Float8Members& chosen,
                   size_t member) {
  const auto time_of = [&](const Float8Members& float8) {
    return std::ranges::find(measurement.choices, float8, &GroupMeasurement::Choice::float8)
        ->milliseconds;
  };
  const double bf16 = measurement.choices[kNone].milliseconds;
  if (chosen[member]) return against(time_of(chosen), bf16) + " in bf16";
  if (std::ranges::find(chosen, true) != chosen.end()) {
    return against(measurement.choices[kAll].milliseconds, time_of(chosen)) + " with it in bf16";
  }
  double fastest = measurement.choices[kAll].milliseconds;
  for (size_t i = kAll; i < measurement.choices.size(); ++i) {
    fastest = std::min(fastest, measurement.choices[i].milliseconds);
  }
  return against(fastest, bf16) + " in bf16" + (fastest < bf16 ? ", gains less than 2 %" : "");
}

}  // namespace

std::vector<Float8Members> float8_choices(const LinearGroupKind& kind,
                                          const Float8Members& candidates) {
  const size_t size = candidates.size();
  // By converted sizes, in the order in which they are found.
  std::vector<Float8Members> choices = {Float8Members(size, false), candidates};
  for (size_t subset = 0; subset < size_t{1} << size; ++subset) {
    Float8Members float8(size);
    bool allowed = true;
    for (size_t i = 0; i < size; ++i) {
      float8[i] = (subset >> i & 1) != 0;
      allowed &= !float8[i] || candidates[i];
    }
    if (!allowed) continue;
    const auto alike = std::ranges::find_if(choices, [&](const Float8Members& other) {
      return converted_sizes(kind, other) == converted_sizes(kind, float8);
    });
    if (alike == choices.end()) {
      choices.push_back(float8);
    } else if (count_runs(float8) < count_runs(*alike)) {
      *alike = float8;
    }
  }
  return choices;
}

GroupMeasurement measure_group(const LinearGroupKind& kind, const Float8Members& candidates,
                               const TimeLinearGroup& time) {
  GroupMeasurement measurement{.kind = kind, .candidates = candidates, .choices = {}};
  const std::vector<Float8Members> choices = float8_choices(kind, candidates);
  add_times(measurement, {choices[kNone], choices[kAll]}, time);
  const auto [fast, slow] =
      std::minmax(measurement.choices[kNone].milliseconds, measurement.choices[kAll].milliseconds);
  if (choices.size() > 2 && slow <= kCloseBy * fast) add_times(measurement, choices, time);
  return measurement;
}

const Float8Members& fastest_choice(const GroupMeasurement& measurement) {
  const auto fastest = std::min_element(
      measurement.choices.begin() + kAll, measurement.choices.end(),
      [](const auto& a, const auto& b) { return a.milliseconds < b.milliseconds; });
  const auto& bf16 = measurement.choices[kNone];
  const bool gains = fastest->milliseconds <= kNeededShare * bf16.milliseconds;
  return gains ? fastest->float8 : bf16.float8;
}

void keep_what_gains(DecoderConfig& model, ConversionReport& report, int64_t tokens, int64_t tp,
                     const MeasureGroup& measure) {
  size_t row = 0;
  for (const auto& [kind, group] : groups_as_split(model, tokens, tp)) {
    Float8Members candidates;
    for (const LinearConfig& linear : group.members)
      candidates.push_back(linear.float8.has_value());
    if (std::ranges::find(candidates, true) == candidates.end()) {
      row += group.members.size();
      continue;
    }
    auto found = std::ranges::find_if(report.measurements, [&](const GroupMeasurement& known) {
      return known.kind == kind && known.candidates == candidates;
    });
    if (found == report.measurements.end()) {
      found = report.measurements.insert(found, measure(kind, candidates));
    }
    const Float8Members& chosen = fastest_choice(*found);
    for (size_t i = 0; i < group.members.size(); ++i, ++row) {
      if (!candidates[i]) continue;
      if (!chosen[i]) group.members[i].float8.reset();
      report.rows[row].converted = chosen[i];
      report.rows[row].reason = reason(*found, chosen, i);
    }
  }
}

}  // namespace titan
