#include "lib/metrics/profiler.hpp"

#include <ATen/Context.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/ones.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "lib/base/error.hpp"
#include "lib/base/file.hpp"
#include "tests/unit/metrics/file_size_limit.hpp"
#include "tests/unit/metrics/temporary_folder.hpp"

namespace titan {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class ProfilerTest : public testing::Test {
 protected:
  Profiler::Config config(int64_t freq, int64_t warmup, int64_t active) const {
    return {.enable = true,
            .folder = folder_.path(),
            .freq = freq,
            .active = active,
            .warmup = warmup,
            .rank = 3};
  }

  // Steps first..last, each with one matrix product whose row count is the step's number.
  static void run_steps(Profiler& profiler, int64_t first, int64_t last) {
    for (int64_t step = first; step <= last; ++step) {
      at::mm(at::ones({step, 8}), at::ones({8, 8}));
      profiler.step(step);
    }
  }

  std::set<std::string> files() const {
    std::set<std::string> found;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(folder_.path())) {
      if (!entry.is_directory()) {
        found.insert(std::filesystem::relative(entry.path(), folder_.path()).string());
      }
    }
    return found;
  }

  nlohmann::json events(const std::string& iteration) const {
    const auto path = folder_ / iteration / "rank3_trace.json";
    return nlohmann::json::parse(read_file(path)).at("traceEvents");
  }

  // The row counts of the products in a trace: the steps that it holds.
  std::set<int64_t> recorded_steps(const std::string& iteration) const {
    std::set<int64_t> steps;
    for (const auto& event : events(iteration)) {
      if (event.value("name", "") == "aten::mm") {
        steps.insert(event.at("args").at("Input Dims").at(0).at(0).get<int64_t>());
      }
    }
    return steps;
  }

  TemporaryFolder folder_;
};

TEST_F(ProfilerTest, RecordsTheLastStepsOfEachCycle) {
  Profiler profiler(config(6, 2, 2));
  run_steps(profiler, 1, 13);
  EXPECT_THAT(files(),
              ElementsAre("iteration_12/rank3_trace.json", "iteration_6/rank3_trace.json"));
  EXPECT_THAT(recorded_steps("iteration_6"), ElementsAre(5, 6));
  EXPECT_THAT(recorded_steps("iteration_12"), ElementsAre(11, 12));
}

TEST_F(ProfilerTest, NamesTheSteps) {
  Profiler profiler(config(3, 1, 1));
  run_steps(profiler, 1, 3);
  std::set<std::string> names;
  for (const auto& event : events("iteration_3")) {
    const std::string name = event.value("name", "");
    if (name.starts_with("ProfilerStep#")) names.insert(name);
  }
  EXPECT_THAT(names, ElementsAre("ProfilerStep#3"));
}

TEST_F(ProfilerTest, WorksWithoutWaitingAndWithoutWarmup) {
  Profiler profiler(config(2, 0, 2));
  run_steps(profiler, 1, 4);
  EXPECT_THAT(recorded_steps("iteration_2"), ElementsAre(1, 2));
  EXPECT_THAT(recorded_steps("iteration_4"), ElementsAre(3, 4));
}

TEST_F(ProfilerTest, ResumesInTheMiddleOfACycle) {
  Profiler profiler(config(5, 1, 3), 3);
  run_steps(profiler, 4, 5);
  EXPECT_THAT(recorded_steps("iteration_5"), ElementsAre(4, 5));
}

TEST_F(ProfilerTest, SavesWhatItHasWhenTheRunEnds) {
  {
    Profiler profiler(config(5, 1, 3));
    run_steps(profiler, 1, 3);
  }
  EXPECT_THAT(files(), ElementsAre("iteration_3/rank3_trace.json"));
  EXPECT_THAT(recorded_steps("iteration_3"), ElementsAre(3));
}

TEST_F(ProfilerTest, KeepsTheLastTraceWhenTheNextOneIsStillEmpty) {
  {
    Profiler profiler(config(1, 0, 1));
    run_steps(profiler, 1, 2);
  }
  EXPECT_THAT(recorded_steps("iteration_2"), ElementsAre(2));
}

TEST_F(ProfilerTest, LeavesNothingBehindAfterWarmupAlone) {
  {
    Profiler profiler(config(5, 3, 1));
    run_steps(profiler, 1, 2);
  }
  EXPECT_THAT(files(), IsEmpty());
  Profiler next(config(1, 0, 1));  // the profiler is free again
  run_steps(next, 1, 1);
  EXPECT_THAT(recorded_steps("iteration_1"), ElementsAre(1));
}

TEST_F(ProfilerTest, RecordsEveryKernelOfItsStepsOnCuda) {
  if (!at::globalContext().hasCUDA() || at::getNumGPUs() == 0) GTEST_SKIP() << "no GPU visible";
  Profiler::Config with_cuda = config(2, 1, 1);
  with_cuda.cuda = true;
  Profiler profiler(with_cuda);
  const at::Tensor x = at::ones({4096, 4096}, at::kCUDA);
  for (int64_t step = 1; step <= 2; ++step) {
    for (int repeat = 0; repeat < 50; ++repeat) at::mm(x, x);  // still queued when step() is called
    profiler.step(step);
  }
  std::map<std::string, int> count;
  for (const auto& event : events("iteration_2")) count[event.value("cat", "")] += 1;
  EXPECT_GE(count["kernel"], 50);
}

TEST_F(ProfilerTest, DoesNothingUnlessEnabled) {
  Profiler profiler({.folder = folder_.path(), .freq = 1, .active = 1, .warmup = 0});
  run_steps(profiler, 1, 2);
  EXPECT_THAT(files(), IsEmpty());
}

TEST_F(ProfilerTest, RefusesACycleShorterThanItsParts) {
  try {
    Profiler profiler(config(3, 3, 1));
    FAIL() << "accepted";
  } catch (const InputError& error) {
    EXPECT_THAT(error.what(), HasSubstr("profiling.profile_freq = 3"));
  }
}

TEST_F(ProfilerTest, GoesOnWhenTheTraceCannotBeWritten) {
  Profiler::Config blocked = config(1, 0, 1);
  write_file_atomically(folder_ / "file", "");
  blocked.folder = folder_ / "file/traces";
  Profiler profiler(blocked);
  testing::internal::CaptureStdout();
  run_steps(profiler, 1, 2);
  EXPECT_THAT(testing::internal::GetCapturedStdout(),
              HasSubstr("WARNING - Profiler trace not saved"));
}

TEST_F(ProfilerTest, LeavesNoPartOfATraceOnAFullDisk) {
  Profiler profiler(config(1, 0, 1));
  testing::internal::CaptureStdout();
  {
    FileSizeLimit full(1500);
    run_steps(profiler, 1, 1);
  }
  EXPECT_THAT(testing::internal::GetCapturedStdout(), HasSubstr("is the disk full?"));
  EXPECT_THAT(files(), IsEmpty());
  run_steps(profiler, 2, 2);
  EXPECT_THAT(recorded_steps("iteration_2"), ElementsAre(2));
}

}  // namespace
}  // namespace titan
