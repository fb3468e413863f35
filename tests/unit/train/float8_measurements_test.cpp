// The table of auto_filter_measured: what a later run takes from it, and what makes it start again.
#include "lib/train/float8_measurements.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>

#include "lib/base/error.hpp"
#include "lib/base/file.hpp"
#include "lib/train/report.hpp"
#include "tests/unit/parallel/rank_threads.hpp"

namespace titan {
namespace {

namespace fs = std::filesystem;
using nlohmann::ordered_json;
using ::testing::HasSubstr;
using ::testing::Not;

const ordered_json kMadeWith = {
    {"device", "NVIDIA H200"}, {"cuBLASLt", "130100"}, {"recipe", "rowwise"}, {"micro_batches", 1}};

LinearGroupKind qkv(int64_t m = 8192) {
  return {.name = "layers.*.attention.",
          .place = LinearGroupKind::Place::kQkv,
          .m = m,
          .k = 4096,
          .members = {{"wq", 4096}, {"wk", 1024}, {"wv", 1024}}};
}

const Float8Members kAll = {true, true, true};

class Float8MeasurementsTest : public ::testing::Test {
 protected:
  Float8MeasurementsTest()
      : folder_(fs::temp_directory_path() / concat("titan_float8_measurements.", ::getpid())),
        file_(folder_ / "float8_measurements.json") {
    fs::create_directories(folder_);
  }
  ~Float8MeasurementsTest() override { fs::remove_all(folder_); }

  // Measures as a run does. Each timing is slower than the one before, so that times tell when they
  // were taken. Returns what was logged.
  std::string run(const ordered_json& made_with, const std::vector<LinearGroupKind>& kinds,
                  const Float8Members& candidates = kAll) {
    ::testing::internal::CaptureStdout();
    HostGroup alone;
    Float8Measurements measurements(
        file_, made_with,
        [this](const auto&, const std::vector<Float8Members>& choices) {
          clock_ += 1;
          std::vector<double> times(choices.size(), 0.95 * clock_);
          times[0] = (1 + 1.0 / 300) * clock_;
          return times;
        },
        alone);
    const MeasureGroup measure = measurements.measurer();
    measured_.clear();
    for (const LinearGroupKind& kind : kinds) measured_.push_back(measure(kind, candidates));
    measurements.finish();
    measurements.save();
    timed_ = measurements.timed();
    return ::testing::internal::GetCapturedStdout();
  }

  fs::path folder_, file_;
  double clock_ = 0;
  std::vector<GroupMeasurement> measured_;
  size_t timed_ = 0;
};

TEST_F(Float8MeasurementsTest, ALaterRunDecidesByTheSameTimes) {
  EXPECT_THAT(run(kMadeWith, {qkv()}), HasSubstr("kinds of linear groups timed: 1, in "));
  const GroupMeasurement first = measured_.at(0);
  ASSERT_EQ(first.choices.size(), 6u);  // the mixes were timed too
  const std::string written = read_file(file_);

  EXPECT_THAT(run(kMadeWith, {qkv()}), HasSubstr("using the measurements in " + file_.string()));
  EXPECT_EQ(timed_, 0u);
  const GroupMeasurement& again = measured_.at(0);
  EXPECT_EQ(again.kind, first.kind);
  EXPECT_EQ(again.candidates, first.candidates);
  ASSERT_EQ(again.choices.size(), first.choices.size());
  for (size_t i = 0; i < first.choices.size(); ++i) {
    EXPECT_EQ(again.choices[i].float8, first.choices[i].float8);
    EXPECT_EQ(again.choices[i].milliseconds, first.choices[i].milliseconds);  // every bit
  }
  EXPECT_EQ(read_file(file_), written);
}

TEST_F(Float8MeasurementsTest, OtherDeviceVersionOrRecipeMeasuresAgain) {
  for (const auto& [key, value] : {std::pair{"device", "NVIDIA H100"},
                                   {"cuBLASLt", "130200"},
                                   {"recipe", "rowwise_with_gw_hp"}}) {
    run(kMadeWith, {qkv()});
    ordered_json other = kMadeWith;
    other[key] = value;
    EXPECT_THAT(run(other, {qkv()}),
                HasSubstr(concat("is of another run: ", key, " was ", kMadeWith[key].dump(),
                                 " and is ", other[key].dump())));
    EXPECT_EQ(timed_, 1u);
    EXPECT_THAT(run(other, {qkv()}), HasSubstr("using the measurements"));  // it was replaced
    fs::remove(file_);
  }
}

TEST_F(Float8MeasurementsTest, OtherShapesAreMeasuredAndTheRestIsNot) {
  run(kMadeWith, {qkv(8192)});
  EXPECT_THAT(run(kMadeWith, {qkv(8192), qkv(4096), qkv(2048)}),
              HasSubstr("lacks, first layers.*.attention.[\"wq\",\"wk\",\"wv\"] with M 4096 and K "
                        "4096"));
  EXPECT_EQ(timed_, 2u);
  EXPECT_EQ(measured_[0].choices[1].milliseconds, 2 * 0.95);
  run(kMadeWith, {qkv(8192)}, {true, false, true});  // other candidates
  EXPECT_EQ(timed_, 1u);
}

TEST_F(Float8MeasurementsTest, ADamagedFileIsReplaced) {
  run(kMadeWith, {qkv()});
  const ordered_json good = ordered_json::parse(read_file(file_));
  std::vector<std::string> bad = {"", "{", "[]", "{\"groups\": []}"};
  for (const auto& [place, value] : std::vector<std::pair<const char*, ordered_json>>{
           {"/groups/0/M", "many"},
           {"/groups/0/place", "nowhere"},
           {"/groups/0/candidates/0", "wx"},
           {"/groups/0/choices/0/milliseconds", -1},
           {"/groups/0/choices/0/float8", {"wq"}},
           {"/groups/0/choices", ordered_json::array()}}) {
    ordered_json damaged = good;
    damaged[ordered_json::json_pointer(place)] = value;
    bad.push_back(damaged.dump());
  }
  for (const std::string& content : bad) {
    std::ofstream(file_) << content;
    EXPECT_THAT(run(kMadeWith, {qkv()}), HasSubstr("cannot be read")) << content;
    EXPECT_EQ(timed_, 1u);
    EXPECT_THAT(run(kMadeWith, {qkv()}), HasSubstr("using the measurements"));
  }
}

TEST_F(Float8MeasurementsTest, NothingAskedNothingWritten) {
  EXPECT_EQ(run(kMadeWith, {}), "");
  EXPECT_FALSE(fs::exists(file_));
}

TEST_F(Float8MeasurementsTest, TheTableNamesMembersTimesAndTheChoice) {
  run(kMadeWith, {qkv()});
  const ordered_json table = ordered_json::parse(read_file(file_));
  EXPECT_EQ(table["made_with"], kMadeWith);
  const ordered_json& group = table["groups"][0];
  EXPECT_EQ(group["group"], "layers.*.attention.");
  EXPECT_EQ(group["M"], 8192);
  EXPECT_EQ(group["members"][1], (ordered_json{{"name", "wk"}, {"N", 1024}}));
  EXPECT_EQ(group["choices"][0]["float8"], ordered_json::array());
  EXPECT_EQ(group["choices"][1]["float8"], (ordered_json{"wq", "wk", "wv"}));
  EXPECT_EQ(group["chosen"], (ordered_json{"wq", "wk", "wv"}));
}

// Each rank has a clock of its own; rank 0's decides.
TEST_F(Float8MeasurementsTest, RanksDecideByTheTimesOfTheFirst) {
  std::vector<std::string> tables(3);
  std::vector<size_t> timed(3);
  titan::testing::on_every_rank(3, [&](World& world) {
    const auto rank = static_cast<size_t>(world.rank());
    const std::unique_ptr<HostGroup> ranks = world.host_group("measurements");
    Float8Measurements measurements(
        file_, kMadeWith,
        [&](const auto&, const std::vector<Float8Members>& choices) {
          std::vector<double> times(choices.size(), 1.0 / 3 + static_cast<double>(rank));
          times[0] = 1;
          return times;
        },
        *ranks);
    const MeasureGroup measure = measurements.measurer();
    for (const LinearGroupKind& kind : {qkv(), qkv(4096)}) {
      EXPECT_EQ(fastest_choice(measure(kind, kAll)), kAll) << "rank " << rank;
    }
    tables[rank] = measurements.text();
    timed[rank] = measurements.timed();
    if (rank == 0) measurements.save();
  });
  EXPECT_EQ(timed, (std::vector<size_t>{2, 0, 0}));
  EXPECT_EQ(tables[1], tables[0]);
  EXPECT_EQ(tables[2], tables[0]);
  EXPECT_EQ(read_file(file_), tables[0]);
}

// ---- As a job asks for it ----

JobConfig job() {
  JobConfig job;
  job.model.flavor = "8B";
  job.model.n_layers = 2;
  job.model.converters = {"quantize.linear.float8"};
  job.quantize.linear.float8.filter_fqns = {"output", "auto_filter_measured"};
  job.training.seq_len = 4096;
  job.training.local_batch_size = 2;
  return job;
}

TEST(Float8MeasurementsOfAJob, ThePlanHoldsWhatWasMeasured) {
  const auto slow_w2 = [](const LinearGroupKind& kind, const std::vector<Float8Members>& choices) {
    std::vector<double> times(choices.size(), kind.place == LinearGroupKind::Place::kDown ? 4 : 1);
    times[0] = 2;
    return times;
  };
  const JobPlan plan = plan_job(job(), {}, [&](const auto& kind, const auto& candidates) {
    EXPECT_EQ(kind.m, 8192);
    return measure_group(kind, candidates, slow_w2);
  });
  EXPECT_EQ(plan.conversions.at(0).summary(), "float8 rowwise: 12 of 15 linears");
  EXPECT_FALSE(plan.model.layers[1].feed_forward.down.members[0].float8);
  const ordered_json report = to_json(plan)["conversions"][0];
  EXPECT_EQ(report["linears"][6]["name"], "layers.0.feed_forward.w2");
  EXPECT_EQ(report["linears"][6]["reason"], "measured 4.000 ms against 2.000 ms in bf16");
  EXPECT_EQ(report["linears"][0]["reason"], "measured 1.000 ms against 2.000 ms in bf16");
  ASSERT_EQ(report["measurements"].size(), 4u);
  EXPECT_EQ(report["measurements"][3]["choices"][1]["milliseconds"], 4.0);
  EXPECT_THAT(describe(plan), HasSubstr("float8: measured 1.000 ms against 2.000 ms in bf16"));
}

TEST(Float8MeasurementsOfAJob, KindsAreThoseOfATensorParallelRank) {
  std::map<std::string, LinearGroupKind> kinds;
  const JobPlan plan =
      plan_job(job(), {.dp_shard = 2, .tp = 4}, [&](const auto& kind, const auto& candidates) {
        kinds[kind.members.front().name] = kind;
        return measure_group(kind, candidates, [](const auto&, const auto& choices) {
          return std::vector<double>(choices.size(), 1);
        });
      });
  ASSERT_EQ(kinds.size(), 4u);
  for (const auto& [name, kind] : kinds) {
    EXPECT_EQ(kind.m, 8192) << name;
    EXPECT_EQ(kind.tp, 4) << name;
  }
  EXPECT_EQ(kinds["wq"].k, 4096);
  EXPECT_EQ(kinds["wq"].members.at(0).n, 1024);
  EXPECT_EQ(kinds["wq"].members.at(1).n, 256);
  EXPECT_EQ(kinds["wo"].k, 1024);
  EXPECT_EQ(kinds["wo"].members.at(0).n, 4096);
  EXPECT_EQ(kinds["w1"].members.at(0).n, 3584);
  EXPECT_EQ(kinds["w2"].k, 3584);
  // The model stays whole; nothing gained, so nothing is left in float8.
  EXPECT_EQ(plan.model.layers[0].feed_forward.down.in_features(), 14336);
  EXPECT_EQ(plan.conversions.at(0).converted(), 0);
  EXPECT_THAT(plan.conversions.at(0).table(), HasSubstr("K   14336/4  N      4096  not: measured"));
}

TEST(Float8MeasurementsOfAJob, OnTheCpuNothingIsTimed) {
  const ops::Device cpu = ops::Device::cpu();
  HostGroup alone;
  EXPECT_EQ(Float8Measurements(job(), cpu, {}, alone).measurer(), nullptr);
  const JobPlan plan = plan_job(job());
  EXPECT_EQ(plan.conversions.at(0).summary(), "float8 rowwise: 14 of 15 linears");
  EXPECT_THAT(describe(plan), HasSubstr("auto_filter_measured: nothing can be measured"));
  EXPECT_THAT(to_json(plan)["conversions"][0]["notes"][0].get<std::string>(),
              HasSubstr("all 14 linears"));
}

}  // namespace
}  // namespace titan
