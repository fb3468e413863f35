#include "lib/train/float8_measurements.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <sstream>

#include "lib/base/error.hpp"
#include "lib/base/file.hpp"
#include "lib/base/log.hpp"
#include "lib/metrics/throughput.hpp"
#include "lib/train/from_job.hpp"
#include "lib/train/version.hpp"

namespace titan {
namespace {

using Json = nlohmann::ordered_json;
using Place = LinearGroupKind::Place;

constexpr std::array kPlaces = {"qkv", "wo", "gate_up", "down", "output"};  // in Place's order

Json names(const LinearGroupKind& kind, const Float8Members& members) {
  Json names = Json::array();
  for (size_t i = 0; i < members.size(); ++i) {
    if (members[i]) names.push_back(kind.members[i].name);
  }
  return names;
}

Float8Members members_from(const LinearGroupKind& kind, const Json& names) {
  Float8Members members(kind.members.size());
  for (const Json& name : names) {
    const auto found =
        std::ranges::find(kind.members, name.get<std::string>(), &LinearGroupKind::Member::name);
    TITAN_CHECK(found != kind.members.end(), "no member ", name.dump());
    members[static_cast<size_t>(found - kind.members.begin())] = true;
  }
  return members;
}

// Device, versions, recipe and dtypes, the micro-batches that share a weight's quantization, what
// of a mesh changes the work, and whether matmul plans are tuned.
Json made_with(const JobConfig& job, const ops::Device& device, const MeshShape& mesh) {
  Json made_with = {{"device", device.name()}};
  std::istringstream lines(version_text());
  for (std::string name, version; lines >> name && std::getline(lines >> std::ws, version);) {
    made_with[name] = version;
  }
  const SharderConfig sharder = sharder_config(job, mesh);
  made_with["recipe"] = recipe_name(float8_recipe(job));
  made_with["training.dtype"] = c10::toString(sharder.parameter_dtype);
  made_with["training.mixed_precision_param"] = c10::toString(sharder.compute_dtype);
  made_with["micro_batches"] = sharder.micro_batches;
  made_with["gathered"] = mesh.dp_shard > 1;
  made_with["reduced"] = mesh.data_ranks() > 1;
  made_with["debug.deterministic"] = job.debug.deterministic;
  return made_with;
}

// What differs first, in words; "" if nothing does.
std::string difference(const Json& then, const Json& now) {
  for (const auto& [key, value] : now.items()) {
    const Json before = then.value(key, Json());
    if (before != value) return concat(key, " was ", before.dump(), " and is ", value.dump());
  }
  return "";
}

void say(const std::string& line) { log::info("auto_filter_measured: " + line); }

}  // namespace

Json to_json(const GroupMeasurement& measurement) {
  const LinearGroupKind& kind = measurement.kind;
  Json members = Json::array(), choices = Json::array();
  for (const auto& [name, n] : kind.members) members.push_back({{"name", name}, {"N", n}});
  for (const auto& [float8, milliseconds] : measurement.choices) {
    choices.push_back({{"float8", names(kind, float8)}, {"milliseconds", milliseconds}});
  }
  return {{"group", kind.name},
          {"place", kPlaces.at(static_cast<size_t>(kind.place))},
          {"M", kind.m},
          {"K", kind.k},
          {"tp", kind.tp},
          {"members", members},
          {"candidates", names(kind, measurement.candidates)},
          {"choices", choices},
          {"chosen", names(kind, fastest_choice(measurement))}};
}

GroupMeasurement measurement_from(const Json& json) try {
  GroupMeasurement measurement;
  LinearGroupKind& kind = measurement.kind;
  kind.name = json.at("group");
  const auto place = std::ranges::find(kPlaces, json.at("place").get<std::string>());
  TITAN_CHECK(place != kPlaces.end(), "no place ", json.at("place").dump());
  kind.place = static_cast<Place>(place - kPlaces.begin());
  kind.m = json.at("M");
  kind.k = json.at("K");
  kind.tp = json.at("tp");
  for (const Json& member : json.at("members")) {
    kind.members.push_back({member.at("name"), member.at("N")});
  }
  measurement.candidates = members_from(kind, json.at("candidates"));
  for (const Json& choice : json.at("choices")) {
    const double milliseconds = choice.at("milliseconds");
    TITAN_CHECK(std::isfinite(milliseconds) && milliseconds > 0, milliseconds, " ms");
    measurement.choices.push_back({members_from(kind, choice.at("float8")), milliseconds});
  }
  const Float8Members none(kind.members.size());
  TITAN_CHECK(measurement.choices.size() >= 2 && measurement.choices[0].float8 == none &&
                  measurement.choices[1].float8 == measurement.candidates,
              "the first two choices are not none and all");
  return measurement;
} catch (const nlohmann::json::exception& error) {
  throw Error(error.what());
}

Float8Measurements::Float8Measurements(std::filesystem::path file, Json made_with,
                                       TimeLinearGroup time, HostGroup& ranks)
    : file_(std::move(file)),
      made_with_(std::move(made_with)),
      time_(std::move(time)),
      ranks_(ranks) {}

Float8Measurements::Float8Measurements(const JobConfig& job, const ops::Device& device,
                                       const MeshShape& mesh, HostGroup& ranks)
    : Float8Measurements(std::filesystem::path(job.job.dump_folder) / "float8_measurements.json",
                         made_with(job, device, mesh), linear_timer(job, device, mesh), ranks) {}

void Float8Measurements::read_file_once() {
  if (std::exchange(read_, true) || !std::filesystem::exists(file_)) return;
  try {
    const Json json = Json::parse(read_file(file_));
    const std::string why = difference(json.at("made_with"), made_with_);
    if (!why.empty()) {
      say(concat("measuring again, ", file_.string(), " is of another run: ", why));
      return;
    }
    for (const Json& group : json.at("groups")) known_.push_back(measurement_from(group));
    say(concat("using the measurements in ", file_.string()));
  } catch (const std::exception& error) {
    known_.clear();
    say(concat("measuring again, ", file_.string(), " cannot be read: ", error.what()));
  }
}

GroupMeasurement Float8Measurements::measure(const LinearGroupKind& kind,
                                             const Float8Members& candidates) {
  std::string text;
  if (ranks_.rank() == 0) text = to_json(measure_here(kind, candidates)).dump();
  return groups_.emplace_back(measurement_from(Json::parse(ranks_.broadcast(std::move(text)))));
}

GroupMeasurement Float8Measurements::measure_here(const LinearGroupKind& kind,
                                                  const Float8Members& candidates) {
  read_file_once();
  const auto found = std::ranges::find_if(known_, [&](const GroupMeasurement& known) {
    return known.kind == kind && known.candidates == candidates;
  });
  if (found != known_.end()) return *found;
  if (!known_.empty() && !std::exchange(missed_, true)) {
    say(concat("measuring what ", file_.string(), " lacks, first ", kind.name,
               names(kind, candidates).dump(), " with M ", kind.m, " and K ", kind.k));
  }
  ++timed_;
  const double start = monotonic_seconds();
  GroupMeasurement measurement = measure_group(kind, candidates, time_);
  seconds_ += monotonic_seconds() - start;
  return measurement;
}

MeasureGroup Float8Measurements::measurer() {
  if (!time_) return nullptr;
  return [this](const LinearGroupKind& kind, const Float8Members& candidates) {
    return measure(kind, candidates);
  };
}

void Float8Measurements::finish() const {
  if (timed_ == 0) return;
  release_timing_memory();
  char text[100];
  std::snprintf(text, sizeof text, "kinds of linear groups timed: %zu, in %.2f s", timed_,
                seconds_);
  say(text);
}

std::string Float8Measurements::text() const {
  if (groups_.empty()) return "";
  Json groups = Json::array();
  for (const GroupMeasurement& group : groups_) groups.push_back(to_json(group));
  return Json({{"made_with", made_with_}, {"groups", groups}}).dump(2) + "\n";
}

void Float8Measurements::save() const {
  if (!groups_.empty()) write_file_atomically(file_, text());
}

TimeLinearGroup linear_timer(const JobConfig& job, const ops::Device& device,
                             const MeshShape& mesh) {
  if (!device.is_cuda() || job.quantize.linear.float8.emulate) return nullptr;
  const LinearTimingConfig config{
      .recipe = float8_recipe(job), .sharder = sharder_config(job, mesh), .mesh = mesh};
  return [&device, config](const LinearGroupKind& kind, const std::vector<Float8Members>& choices) {
    return time_linear_group_sync(device, kind, choices, config);
  };
}

}  // namespace titan
