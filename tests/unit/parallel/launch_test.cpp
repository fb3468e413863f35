// How a process finds out which of how many it is, and where they meet.
#include "lib/parallel/launch.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "lib/base/error.hpp"

namespace titan {
namespace {

using Variables = std::map<std::string, std::string>;
using testing::AllOf;
using testing::HasSubstr;

Launch launch(const Variables& variables) {
  return find_launch([&](const char* name) {
    const auto found = variables.find(name);
    return found == variables.end() ? nullptr : found->second.c_str();
  });
}

std::string refusal(const Variables& variables) {
  try {
    launch(variables);
  } catch (const InputError& error) {
    return error.what();
  }
  return "";
}

Variables with(Variables variables, const Variables& changes) {
  for (const auto& [name, value] : changes) variables[name] = value;
  return variables;
}
Variables without(Variables variables, const std::string& name) {
  variables.erase(name);
  return variables;
}

void expect_place(const Launch& found, const std::string& launcher, int64_t rank,
                  int64_t world_size, int64_t local_rank, int64_t local_world_size) {
  EXPECT_EQ(found.launcher, launcher);
  EXPECT_EQ(found.rank, rank);
  EXPECT_EQ(found.world_size, world_size);
  EXPECT_EQ(found.local_rank, local_rank);
  EXPECT_EQ(found.local_world_size, local_world_size);
}

void expect_store(const Launch& found, const std::string& host, int port, bool launcher_hosts,
                  const std::string& prefix) {
  EXPECT_EQ(found.store_address, host);
  EXPECT_EQ(found.store_port, port);
  EXPECT_EQ(found.launcher_hosts_store, launcher_hosts);
  EXPECT_EQ(found.store_prefix, prefix);
}

const Variables kTorchrun = {{"RANK", "9"},
                             {"WORLD_SIZE", "16"},
                             {"LOCAL_RANK", "1"},
                             {"LOCAL_WORLD_SIZE", "8"},
                             {"GROUP_RANK", "1"},
                             {"MASTER_ADDR", "node0"},
                             {"MASTER_PORT", "29500"},
                             {"TORCHELASTIC_RUN_ID", "job7"},
                             {"TORCHELASTIC_USE_AGENT_STORE", "True"}};
const Variables kBatchShell = {{"SLURM_JOB_ID", "1000"},
                               {"SLURM_PROCID", "0"},
                               {"SLURM_LOCALID", "0"},
                               {"SLURM_NODEID", "0"},
                               {"SLURM_NTASKS", "12"},
                               {"SLURM_TASKS_PER_NODE", "4(x3)"},
                               {"SLURM_JOB_NODELIST", "gpu[1-3]"}};
const Variables kStep = with(kBatchShell, {{"SLURM_PROCID", "5"},
                                           {"SLURM_LOCALID", "1"},
                                           {"SLURM_NODEID", "1"},
                                           {"SLURM_STEP_ID", "3"},
                                           {"SLURM_STEP_NUM_TASKS", "6"},
                                           {"SLURM_STEP_TASKS_PER_NODE", "4,2"},
                                           {"SLURM_STEP_NODELIST", "gpu[2-3]"}});
const Variables kOpenMpi = {
    {"OMPI_COMM_WORLD_RANK", "1"},       {"OMPI_COMM_WORLD_SIZE", "4"},
    {"OMPI_COMM_WORLD_LOCAL_RANK", "1"}, {"OMPI_COMM_WORLD_LOCAL_SIZE", "2"},
    {"MASTER_ADDR", "10.0.0.1"},         {"MASTER_PORT", "1234"}};
const Variables kHydra = {{"PMI_RANK", "3"},        {"PMI_SIZE", "4"},    {"MPI_LOCALRANKID", "0"},
                          {"MPI_LOCALNRANKS", "1"}, {"MASTER_ADDR", "a"}, {"MASTER_PORT", "65535"}};

TEST(Launch, ByNobody) {
  const Launch found = launch({{"HOME", "/root"}});
  expect_place(found, "", 0, 1, 0, 1);
  expect_store(found, "", 0, false, "");
}

TEST(Launch, ByTorchrun) {
  const Launch found = launch(kTorchrun);
  expect_place(found, "torchrun", 9, 16, 1, 8);
  expect_store(found, "node0", 29500, true, "job7");
}

TEST(Launch, ByTorchrunWhoseStoreIsRankZeros) {
  EXPECT_FALSE(
      launch(with(kTorchrun, {{"TORCHELASTIC_USE_AGENT_STORE", "False"}})).launcher_hosts_store);
}

TEST(Launch, ByHandWithTorchrunsVariables) {
  const Launch found = launch({{"RANK", "0"},
                               {"WORLD_SIZE", "2"},
                               {"LOCAL_RANK", "0"},
                               {"LOCAL_WORLD_SIZE", "2"},
                               {"MASTER_ADDR", "localhost"},
                               {"MASTER_PORT", "29501"}});
  expect_place(found, "torchrun", 0, 2, 0, 2);
  expect_store(found, "localhost", 29501, false, "torchrun");
}

TEST(Launch, ByMpi) {
  expect_place(launch(kOpenMpi), "mpirun", 1, 4, 1, 2);
  expect_store(launch(kOpenMpi), "10.0.0.1", 1234, false, "mpirun");
  expect_place(launch(kHydra), "mpiexec", 3, 4, 0, 1);
  expect_store(launch(kHydra), "a", 65535, false, "mpiexec");
}

TEST(Launch, ByAStepOfASlurmJob) {
  expect_place(launch(kStep), "srun", 5, 6, 1, 2);
  // The step's first host, not the job's: rank 0 runs there.
  expect_store(launch(kStep), "gpu2", 61440 + 8003 % 4096, false, "slurm_1000.3");
}

TEST(Launch, APortOfItsOwnForEveryStepAndJob) {
  std::map<int64_t, int> uses;
  for (int job = 4294967; job < 4294967 + 512; ++job) {
    for (int step = 0; step < 8; ++step) {
      const int64_t port = launch(with(kStep, {{"SLURM_JOB_ID", std::to_string(job)},
                                               {"SLURM_STEP_ID", std::to_string(step)}}))
                               .store_port;
      EXPECT_GE(port, 61000);  // Linux gives 32768 to 60999 to outgoing connections
      EXPECT_EQ(++uses[port], 1);
    }
  }
}

TEST(Launch, WhatTheUserSaysOfTheStoreWinsInAStep) {
  expect_store(launch(with(kStep, {{"MASTER_ADDR", "head"}, {"MASTER_PORT", "5"}})), "head", 5,
               false, "slurm_1000.3");
}

TEST(Launch, TheInnermostLauncherCounts) {
  EXPECT_EQ(launch(with(kStep, kTorchrun)).launcher, "torchrun");
  EXPECT_EQ(launch(with(kBatchShell, kTorchrun)).launcher, "torchrun");
  // Inside an allocation mpirun and mpiexec start their daemons by srun, one per node.
  EXPECT_EQ(launch(with(kStep, kOpenMpi)).launcher, "mpirun");
  EXPECT_EQ(launch(with(kStep, kHydra)).launcher, "mpiexec");
  // srun --mpi=pmi2 sets these itself.
  EXPECT_EQ(launch(with(kStep, {{"PMI_RANK", "5"}, {"PMI_SIZE", "6"}})).launcher, "srun");
  // Batch scripts tend to export it for every launcher.
  EXPECT_EQ(launch(with(kStep, {{"WORLD_SIZE", "12"}})).launcher, "srun");
}

TEST(Launch, TheShellOfABatchScriptIsOneProcess) {
  expect_place(launch(kBatchShell), "", 0, 1, 0, 1);
}

TEST(Launch, OneProcessNeedsNoStore) {
  const Launch found =
      launch({{"RANK", "0"}, {"WORLD_SIZE", "1"}, {"LOCAL_RANK", "0"}, {"LOCAL_WORLD_SIZE", "1"}});
  expect_place(found, "torchrun", 0, 1, 0, 1);
  expect_store(found, "", 0, false, "");
  EXPECT_EQ(launch({{"WORLD_SIZE", "1"}}).launcher, "");
}

TEST(Launch, EveryMissingVariableIsNamedWithWhatToDo) {
  const auto expect_needed = [](const Variables& all, const std::string& names,
                                const std::string& remedy) {
    for (std::istringstream stream(names); stream;) {
      std::string name;
      if (!(stream >> name)) break;
      const auto expected = AllOf(HasSubstr(name + " is not set"), HasSubstr(remedy));
      EXPECT_THAT(refusal(without(all, name)), expected);
      EXPECT_THAT(refusal(with(all, {{name, ""}})), expected);  // as after a failed $(command)
    }
  };
  expect_needed(kTorchrun, "RANK WORLD_SIZE LOCAL_RANK LOCAL_WORLD_SIZE MASTER_ADDR MASTER_PORT",
                "torchrun --no-python");
  expect_needed(kOpenMpi,
                "OMPI_COMM_WORLD_SIZE OMPI_COMM_WORLD_LOCAL_RANK OMPI_COMM_WORLD_LOCAL_SIZE "
                "MASTER_ADDR MASTER_PORT",
                "mpirun -x MASTER_ADDR=HOST -x MASTER_PORT=29500");
  expect_needed(kHydra, "PMI_RANK PMI_SIZE MPI_LOCALNRANKS MASTER_ADDR MASTER_PORT",
                "mpiexec -genv MASTER_ADDR HOST -genv MASTER_PORT 29500");
  expect_needed(kStep,
                "SLURM_PROCID SLURM_LOCALID SLURM_NODEID SLURM_STEP_TASKS_PER_NODE "
                "SLURM_STEP_NODELIST SLURM_JOB_ID SLURM_STEP_ID",
                "srun");
}

TEST(Launch, RefusesWhatIsNoNumber) {
  for (const char* text : {"x", "-1", "2 ", " 2", "1e3", "0", "99999999999999999999"}) {
    EXPECT_THAT(refusal(with(kTorchrun, {{"WORLD_SIZE", text}})),
                HasSubstr(concat("a number of at least 1 in WORLD_SIZE, got \"", text, "\"")));
  }
  for (const char* text : {"65536", "0", "http"}) {
    EXPECT_THAT(
        refusal(with(kTorchrun, {{"MASTER_PORT", text}})),
        HasSubstr(concat("at least 1 and at most 65535 in MASTER_PORT, got \"", text, "\"")));
  }
  EXPECT_THAT(refusal({{"WORLD_SIZE", "two"}}), HasSubstr("in WORLD_SIZE, got \"two\""));
}

TEST(Launch, RefusesWhatDoesNotFitTogether) {
  EXPECT_THAT(refusal(with(kTorchrun, {{"RANK", "16"}})),
              HasSubstr("RANK = 16 does not fit WORLD_SIZE = 16"));
  EXPECT_THAT(refusal(with(kTorchrun, {{"LOCAL_RANK", "8"}})),
              HasSubstr("LOCAL_RANK = 8 does not fit LOCAL_WORLD_SIZE = 8"));
  EXPECT_THAT(refusal(with(kTorchrun, {{"LOCAL_WORLD_SIZE", "17"}})),
              HasSubstr("LOCAL_WORLD_SIZE = 17 does not fit WORLD_SIZE = 16"));
  EXPECT_THAT(refusal(with(kStep, {{"SLURM_LOCALID", "2"}})),
              HasSubstr("SLURM_LOCALID = 2 does not fit SLURM_STEP_TASKS_PER_NODE = 2"));
}

}  // namespace
}  // namespace titan
