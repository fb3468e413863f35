// Ranks with different jobs are told which options differ.
#include "lib/config/compare.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "lib/config/dump.hpp"
#include "tests/unit/config/config_testing.hpp"

namespace titan::config {
namespace {

using testing::AllOf;
using testing::HasSubstr;

constexpr char kIntroduction[] =
    "the ranks were given different jobs; start all of them with the same job file and options:";

std::string differences(const std::vector<JobConfig>& jobs) {
  std::vector<std::string> texts;
  for (const JobConfig& job : jobs) texts.push_back(to_json(job));
  return describe_differences(texts);
}

TEST(Compare, EqualJobs) {
  EXPECT_EQ(differences({}), "");
  EXPECT_EQ(differences({JobConfig{}}), "");
  EXPECT_EQ(differences(std::vector<JobConfig>(100)), "");
}

TEST(Compare, TheFileMayLieElsewhere) {
  std::vector<JobConfig> jobs(2);
  jobs[1].job.config_file = "/scratch/job.toml";
  EXPECT_EQ(differences(jobs), "");
}

TEST(Compare, NamesTheOptionItsValuesAndTheirRanks) {
  std::vector<JobConfig> jobs(9);
  for (int rank : {1, 4, 5, 6, 8}) jobs[rank].training.steps = 40;
  jobs[7].training.steps = 50;
  EXPECT_EQ(
      differences(jobs),
      concat(kIntroduction,
             "\n  training.steps: 10000 on ranks 0, 2-3, 40 on ranks 1, 4-6, 8, 50 on rank 7"));
}

TEST(Compare, EveryKindOfValue) {
  std::vector<JobConfig> jobs(2);
  jobs[1].quantize.linear.float8.filter_fqns = {"output", "wq"};
  jobs[1].debug.seed = 3;
  jobs[1].optimizer.lr = 0.25;
  jobs[1].job.description = "a \"b\"";
  const std::string text = differences(jobs);
  EXPECT_THAT(text, HasSubstr("\n  quantize.linear.float8.filter_fqns: [] on rank 0, "
                              "[\"output\",\"wq\"] on rank 1"));
  EXPECT_THAT(text, HasSubstr("\n  debug.seed: null on rank 0, 3 on rank 1"));
  EXPECT_THAT(text, HasSubstr("\n  optimizer.lr: 0.0008 on rank 0, 0.25 on rank 1"));
  EXPECT_THAT(text, HasSubstr("on rank 0, \"a \\\"b\\\"\" on rank 1"));
}

TEST(Compare, ManyDifferencesAreCutShort) {
  std::vector<JobConfig> jobs(30);
  for (int rank = 0; rank < 30; ++rank) {
    Training& training = jobs[rank].training;
    training.steps = training.seq_len = training.local_batch_size = training.gc_freq = rank;
    jobs[rank].lr_scheduler.warmup_steps = jobs[rank].metrics.log_freq = rank;
    jobs[rank].comm.trace_buf_size = rank;
  }
  const std::string text = differences(jobs);
  EXPECT_THAT(text, HasSubstr("\n  comm.trace_buf_size: 0 on rank 0, 1 on rank 1, 2 on rank 2, 3 "
                              "on rank 3, ...\n"));
  EXPECT_THAT(text, testing::EndsWith("\n  and 2 more"));
  EXPECT_EQ(std::ranges::count(text, '\n'), 6);
}

TEST(Compare, NoOptionIsOverlooked) {
  const std::string usual = to_json(JobConfig{});
  for (const Option& option : options()) {
    if (option.path == "job.config_file") continue;
    std::string pointer = concat("/", option.path);
    std::ranges::replace(pointer, '.', '/');
    auto job = nlohmann::json::parse(usual);
    job.at(nlohmann::json::json_pointer(pointer)) = "changed";
    const std::string jobs[] = {usual, job.dump()};
    EXPECT_THAT(describe_differences(jobs), AllOf(HasSubstr(concat("\n  ", option.path, ": ")),
                                                  HasSubstr("on rank 0, \"changed\" on rank 1")));
  }
}

TEST(Compare, ProgramsThatKnowDifferentOptions) {
  const std::string jobs[] = {R"({"a": {"b": 1}})", R"({"a": {"b": 1, "c": 2}})"};
  EXPECT_EQ(describe_differences(jobs),
            concat(kIntroduction, "\n  a.c: unknown on rank 0, 2 on rank 1"));
}

TEST(Compare, WhatIsNoJobIsAnError) {
  for (const char* text : {"", "{", "[1]", "nonsense"}) {
    const std::string jobs[] = {to_json(JobConfig{}), text};
    EXPECT_THROW(describe_differences(jobs), Error) << text;
  }
}

}  // namespace
}  // namespace titan::config
