#include "lib/metrics/metrics_logger.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <sstream>
#include <vector>

#include "lib/base/file.hpp"
#include "tests/unit/metrics/file_size_limit.hpp"
#include "tests/unit/metrics/temporary_folder.hpp"

namespace titan {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

std::vector<int64_t> steps_in(const std::filesystem::path& path) {
  std::istringstream lines(read_file(path));
  std::vector<int64_t> steps;
  for (std::string line; std::getline(lines, line);) {
    steps.push_back(nlohmann::json::parse(line).at("step"));
  }
  return steps;
}

TEST(MetricsLogger, LogsStepOneAndEachMultiple) {
  TemporaryFolder folder;
  const MetricsLogger logger({.dump_folder = folder.path(), .log_freq = 5});
  std::vector<int64_t> logged;
  for (int64_t step = 1; step <= 16; ++step) {
    if (logger.should_log(step)) logged.push_back(step);
  }
  EXPECT_THAT(logged, ElementsAre(1, 5, 10, 15));
}

TEST(MetricsLogger, WritesTheConsoleLineAndTheRecord) {
  TemporaryFolder folder;
  MetricsLogger logger({.dump_folder = folder / "new/dump"});
  testing::internal::CaptureStdout();
  logger.log_step({.step = 1, .global_avg_loss = 8});
  logger.log_validation({.step = 1, .loss = 7.5});
  const std::string log = testing::internal::GetCapturedStdout();
  EXPECT_THAT(log, HasSubstr(" - root - INFO - step:  1  loss:  8.00000  grad_norm: "));
  EXPECT_THAT(log, HasSubstr(" - root - INFO - validate step:  1  loss:  7.5000  memory: "));
  EXPECT_THAT(log, Not(HasSubstr("\033")));  // stdout is no terminal here
  // Each record is in the file while the logger is alive.
  const std::string records = read_file(folder / "new/dump/metrics.jsonl");
  EXPECT_THAT(records, HasSubstr("\"kind\":\"step\",\"step\":1"));
  EXPECT_THAT(records, HasSubstr("\"kind\":\"validation\",\"step\":1"));
  EXPECT_FALSE(std::filesystem::exists(folder / "new/dump/tb"));
}

TEST(MetricsLogger, AppendsOnResumeBelowATornLine) {
  TemporaryFolder folder;
  {
    MetricsLogger logger({.dump_folder = folder.path()});
    logger.log_step({.step = 10});
    logger.log_step({.step = 20});
  }
  const auto path = folder / "metrics.jsonl";
  std::filesystem::resize_file(path, std::filesystem::file_size(path) - 30);
  MetricsLogger resumed({.dump_folder = folder.path()});
  resumed.log_step({.step = 11});
  EXPECT_THAT(steps_in(path), ElementsAre(10, 11));
}

TEST(MetricsLogger, OnlyTheMetricsRankWritesUnlessAllDo) {
  TemporaryFolder folder;
  MetricsLogger silent({.dump_folder = folder / "a", .enable_tensorboard = true, .rank = 1});
  silent.log_step({.step = 1});
  EXPECT_FALSE(std::filesystem::exists(folder / "a"));

  MetricsLogger writing({.dump_folder = folder / "b",
                         .enable_tensorboard = true,
                         .rank = 1,
                         .save_for_all_ranks = true});
  writing.log_step({.step = 1});
  EXPECT_THAT(steps_in(folder / "b/metrics_rank_1.jsonl"), ElementsAre(1));
  const auto tb = std::filesystem::directory_iterator(folder / "b/tb");
  EXPECT_THAT(tb->path().filename().string(), testing::MatchesRegex("[0-9]{8}-[0-9]{4}"));
  EXPECT_TRUE(std::filesystem::is_directory(tb->path() / "rank_1"));
}

TEST(MetricsLogger, TakesBackAHalfRecordWarnsOnceAndGoesOn) {
  TemporaryFolder folder;
  const auto path = folder / "metrics.jsonl";
  RecordFile file(path);
  const auto record = [](int64_t step) {
    return "{\"step\":" + std::to_string(step) + ",\"x\":\"" + std::string(60'000, 'x') + "\"}\n";
  };
  file.append(record(1));
  testing::internal::CaptureStdout();
  {
    FileSizeLimit full(100'000);
    file.append(record(2));
    file.append(record(3));
    EXPECT_THAT(steps_in(path), ElementsAre(1));
  }
  const std::string log = testing::internal::GetCapturedStdout();
  EXPECT_THAT(log, HasSubstr("WARNING - Metrics are being lost: cannot write " + path.string()));
  EXPECT_EQ(log.find("WARNING"), log.rfind("WARNING")) << log;
  file.append(record(4));
  EXPECT_THAT(steps_in(path), ElementsAre(1, 4));
}

TEST(MetricsLogger, GoesOnWithoutAFolderItCanWriteTo) {
  TemporaryFolder folder;
  write_file_atomically(folder / "file", "");
  testing::internal::CaptureStdout();
  MetricsLogger logger({.dump_folder = folder / "file/dump", .enable_tensorboard = true});
  logger.log_step({.step = 1});
  const std::string log = testing::internal::GetCapturedStdout();
  EXPECT_THAT(log, HasSubstr("WARNING - Metrics are being lost"));
  EXPECT_THAT(log, HasSubstr("INFO - step:  1"));
}

}  // namespace
}  // namespace titan
