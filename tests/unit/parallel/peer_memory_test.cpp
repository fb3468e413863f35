// Memory that ranks share, on the CPU: counters that are awaited, ranks that are gone.
#include "lib/parallel/peer_memory.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <thread>

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
  EXPECT_EQ(why_not, "");
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
    for (uint32_t count = 0x3000; count < 0x28000; count += 0x3000) {
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
    EXPECT_EQ(error_of_wait(*memory, 2), "rank 0 of the group has ended");
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
    EXPECT_EQ(error_of_wait(*memory, 1), "rank 0 of the group has written nothing for 1 s");
    given_up = true;
  });
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
