// How a process finds out which of how many it is.
#include "lib/parallel/launch.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "lib/base/error.hpp"

namespace titan {
namespace {

using Variables = std::map<std::string, std::string>;
using testing::HasSubstr;

Launch launch(const Variables& variables) {
  return find_launch([&](const char* name) {
    const auto found = variables.find(name);
    return found == variables.end() ? nullptr : found->second.c_str();
  });
}

void expect_launch(const Variables& variables, const std::string& launcher, int64_t rank,
                   int64_t world_size, int64_t local_rank) {
  const Launch found = launch(variables);
  EXPECT_EQ(found.launcher, launcher);
  EXPECT_EQ(found.rank, rank);
  EXPECT_EQ(found.world_size, world_size);
  EXPECT_EQ(found.local_rank, local_rank);
}

std::string refusal(const Variables& variables) {
  try {
    launch(variables);
  } catch (const InputError& error) {
    return error.what();
  }
  return "";
}

const Variables kTorchrun = {{"RANK", "9"}, {"WORLD_SIZE", "16"}, {"LOCAL_RANK", "1"}};
const Variables kStep = {{"SLURM_PROCID", "3"},
                         {"SLURM_STEP_NUM_TASKS", "4"},
                         {"SLURM_NTASKS", "8"},
                         {"SLURM_LOCALID", "0"}};

TEST(Launch, ByNobody) { expect_launch({{"HOME", "/root"}}, "", 0, 1, 0); }

TEST(Launch, ByEachLauncher) {
  expect_launch(kTorchrun, "torchrun", 9, 16, 1);
  expect_launch(kStep, "srun", 3, 4, 0);
  expect_launch({{"OMPI_COMM_WORLD_RANK", "1"},
                 {"OMPI_COMM_WORLD_SIZE", "2"},
                 {"OMPI_COMM_WORLD_LOCAL_RANK", "1"}},
                "mpirun", 1, 2, 1);
}

TEST(Launch, TorchrunInsideAStep) {
  Variables both = kStep;
  both.insert(kTorchrun.begin(), kTorchrun.end());
  expect_launch(both, "torchrun", 9, 16, 1);
}

TEST(Launch, TheShellOfABatchScriptIsOneProcess) {
  expect_launch({{"SLURM_PROCID", "0"}, {"SLURM_NTASKS", "8"}, {"SLURM_LOCALID", "0"}}, "", 0, 1,
                0);
}

TEST(Launch, RefusesWhatMakesNoSense) {
  Variables variables = kTorchrun;
  variables.erase("RANK");
  EXPECT_THAT(refusal(variables), HasSubstr("WORLD_SIZE is set, but RANK is not"));
  for (const char* text : {"", "x", "-1", "2 ", "1e3", "99999999999999999999"}) {
    variables = kTorchrun;
    variables["WORLD_SIZE"] = text;
    EXPECT_THAT(refusal(variables), HasSubstr(concat("number in WORLD_SIZE, got \"", text, "\"")));
  }
  for (const char* name : {"RANK", "LOCAL_RANK"}) {
    variables = kTorchrun;
    variables[name] = "16";
    EXPECT_THAT(refusal(variables), HasSubstr("do not fit WORLD_SIZE = 16"));
  }
}

}  // namespace
}  // namespace titan
