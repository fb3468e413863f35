// Memory that ranks share, on the CPU: counters that are awaited, ranks that are gone.
#include "lib/parallel/peer_memory.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <thread>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include "lib/base/error.hpp"
#include "lib/parallel/peer_error.hpp"
#include "tests/unit/parallel/rank_threads.hpp"

namespace titan {
namespace {

using ::testing::HasSubstr;
using testing::on_every_rank;

std::shared_ptr<PeerMemory> open(World& world, int64_t bytes, std::string& why_not) {
  return PeerMemory::open(world.group("both", {0, 1}), ops::Device::cpu(), bytes, /*counters=*/1,
                          why_not);
}

std::shared_ptr<PeerMemory> open(World& world) {
  std::string why_not;
  auto memory = open(world, /*bytes=*/7, why_not);
  TITAN_CHECK(memory, why_not);
  return memory;
}

std::string error_of_wait(const PeerMemory& memory, uint32_t count) {
  try {
    memory.wait(0, 0, count);
  } catch (const PeerError& error) {
    return error.what();
  }
  return "none";
}

// Counts grow past what a counter holds.
TEST(PeerMemory, WaitsForCountsThatWrapAround) {
  std::atomic<uint32_t> awaited = 0;  // by rank 1, which has reached all before
  on_every_rank(2, [&](World& world) {
    const auto memory = open(world);
    for (const uint32_t count : {0x3000u, 0x6000u, 0x7ffeu, 0x7fffu, 0x8000u, 0x8001u, 0xb000u,
                                 0xfffeu, 0xffffu, 0x10000u, 0x10001u, 0x17ffeu, 0x18000u}) {
      if (world.rank() == 1) {
        memory->wait(0, 0, count);
        EXPECT_EQ(awaited, count);
        memory->wait(0, 0, count - 5);
        memory->set(0, 0, count);
      } else {
        std::this_thread::sleep_for(std::chrono::milliseconds(2));
        awaited = count;
        memory->set(1, 0, count);
        memory->wait(1, 0, count);
      }
    }
  });
}

TEST(PeerMemory, WhatARankHasWrittenStaysWhenItEnds) {
  on_every_rank(2, [](World& world) {
    const auto memory = open(world);
    if (world.rank() == 0) {
      const char text[] = "titans";
      memory->copy(memory->of(0), text, sizeof text);
      memory->set(1, 0, 1);
      return;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    memory->wait(0, 0, 1);
    EXPECT_STREQ(reinterpret_cast<const char*>(memory->of(0)), "titans");
    EXPECT_EQ(error_of_wait(*memory, 2), "rank 0 of the 2 that share memory has ended");
  });
}

TEST(PeerMemory, WaitsNoLongerThanTheGroup) {
  std::atomic<bool> given_up = false;
  on_every_rank(2, [&](World& world) {
    const auto memory = open(world);
    if (world.rank() == 0) {
      while (!given_up) std::this_thread::sleep_for(std::chrono::milliseconds(1));
      return;
    }
    world.set_timeout(std::chrono::seconds(1));
    EXPECT_EQ(error_of_wait(*memory, 1),
              "rank 0 of the 2 that share memory has written nothing for 1 s");
    given_up = true;
  });
}

// ---- Processes ----

constexpr const char* kPort = "TITAN_TEST_STORE_PORT";

World world_of_processes(int64_t rank, int64_t port) {
  return World({.launcher = "torchrun",
                .rank = rank,
                .world_size = 2,
                .local_rank = rank,
                .local_world_size = 2,
                .store_address = "127.0.0.1",
                .store_port = port,
                .launcher_hosts_store = true},
               ops::Device::cpu(), std::chrono::seconds(60));
}

// What the next test runs in another process, which it kills.
TEST(PeerMemory, IsRankZeroAndHangs) {
  const char* port = std::getenv(kPort);
  if (port == nullptr) GTEST_SKIP() << "for the process that AKilledProcessHasEnded starts";
  World world = world_of_processes(0, std::atoi(port));
  const auto memory = open(world);
  memory->set(1, 0, 1);
  pause();
}

TEST(PeerMemory, AKilledProcessHasEnded) {
  c10d::TCPStoreOptions options;
  options.isServer = true;
  options.waitWorkers = false;
  options.port = 0;
  const auto store = c10::make_intrusive<c10d::TCPStore>("127.0.0.1", options);
  setenv(kPort, std::to_string(store->getPort()).c_str(), 1);
  std::string arguments[] = {"parallel_test", "--gtest_filter=PeerMemory.IsRankZeroAndHangs"};
  char* argv[] = {arguments[0].data(), arguments[1].data(), nullptr};
  pid_t other = 0;
  ASSERT_EQ(posix_spawn(&other, "/proc/self/exe", nullptr, nullptr, argv, environ), 0);
  unsetenv(kPort);

  World world = world_of_processes(1, store->getPort());
  const auto memory = open(world);
  memory->wait(0, 0, 1);
  kill(other, SIGKILL);
  EXPECT_EQ(error_of_wait(*memory, 2), "rank 0 of the 2 that share memory has ended");
  waitpid(other, nullptr, 0);
  memory->wait(0, 0, 1);  // what it has written stays
}

TEST(PeerMemory, IsNotSharedWhereNcclShallNotDoItEither) {
  for (const auto& [name, value] :
       {std::pair("NCCL_P2P_DISABLE", "1"), {"NCCL_P2P_LEVEL", "LOC"}}) {
    setenv(name, value, 1);
    on_every_rank(2, [&](World& world) {
      std::string why_not;
      EXPECT_EQ(open(world, 1, why_not), nullptr);
      EXPECT_THAT(why_not, HasSubstr(name));
    });
    unsetenv(name);
  }
}

}  // namespace
}  // namespace titan
