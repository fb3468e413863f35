// Ranks as threads that meet at a store which lives on over several attempts, as torchrun's does.
#include "lib/parallel/meeting.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>
#include <thread>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include "lib/base/error.hpp"

namespace titan {
namespace {

using testing::HasSubstr;
using StorePointer = c10::intrusive_ptr<c10d::Store>;

class Meeting : public testing::Test {
 protected:
  Meeting() {
    c10d::TCPStoreOptions options;
    options.isServer = true;
    options.waitWorkers = false;
    options.port = 0;
    server_ = c10::make_intrusive<c10d::TCPStore>("127.0.0.1", options);
  }

  Launch launch(int64_t rank, int64_t size) const {
    return {.launcher = "torchrun",
            .rank = rank,
            .world_size = size,
            .store_address = "127.0.0.1",
            .store_port = server_->getPort(),
            .launcher_hosts_store = true,
            .store_prefix = "job"};
  }
  std::future<StorePointer> come(int64_t rank, int64_t size, int seconds = 20) const {
    return std::async(std::launch::async, [launch = launch(rank, size), seconds] {
      return meet(launch, std::chrono::seconds(seconds));
    });
  }

  c10::intrusive_ptr<c10d::TCPStore> server_;
};

std::vector<uint8_t> bytes(const std::string& text) { return {text.begin(), text.end()}; }

// All are in the same attempt, and in one of its own.
void expect_fresh(std::vector<std::future<StorePointer>> arrivals, const std::string& name) {
  std::vector<StorePointer> stores;
  for (auto& arrival : arrivals) stores.push_back(arrival.get());
  EXPECT_FALSE(stores.front()->check({"name"}));
  stores.back()->set("name", bytes(name));
  for (const StorePointer& store : stores) EXPECT_EQ(store->get("name"), bytes(name));
}

TEST_F(Meeting, EveryAttemptHasItsOwnKeys) {
  for (const char* name : {"first", "second", "third"}) {
    std::vector<std::future<StorePointer>> arrivals;
    for (int64_t rank : {2, 0, 1}) arrivals.push_back(come(rank, 3));
    expect_fresh(std::move(arrivals), name);
  }
}

TEST_F(Meeting, WhoComesBeforeRankZeroWaitsForTheNewAttempt) {
  for (const char* name : {"first", "second"}) {
    std::vector<std::future<StorePointer>> arrivals;
    arrivals.push_back(come(1, 2));
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    EXPECT_NE(arrivals.front().wait_for(std::chrono::seconds(0)), std::future_status::ready);
    arrivals.push_back(come(0, 2));
    expect_fresh(std::move(arrivals), name);
  }
}

TEST_F(Meeting, AnAttemptThatEndedBeforeAllHadCome) {
  auto rank_0 = come(0, 3, 1), rank_1 = come(1, 3, 1);
  EXPECT_THROW(rank_0.get(), InputError);
  EXPECT_THROW(rank_1.get(), InputError);
  // Rank 2, which was missing there, does not complete it.
  std::vector<std::future<StorePointer>> arrivals;
  arrivals.push_back(come(2, 3));
  arrivals.push_back(come(1, 3));
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  arrivals.push_back(come(0, 3));
  expect_fresh(std::move(arrivals), "second");
}

TEST_F(Meeting, TheWorldMayShrinkAndGrow) {
  for (int64_t size : {4, 2, 3}) {
    std::vector<std::future<StorePointer>> arrivals;
    for (int64_t rank = 0; rank < size; ++rank) arrivals.push_back(come(rank, size));
    expect_fresh(std::move(arrivals), concat("of ", size));
  }
}

std::string message_of(std::future<StorePointer> arrival) {
  try {
    arrival.get();
  } catch (const InputError& error) {
    return error.what();
  }
  return "";
}

TEST_F(Meeting, NamesWhoIsMissing) {
  auto rank_0 = come(0, 4, 1), rank_2 = come(2, 4, 1);
  const std::string message = message_of(std::move(rank_0));
  EXPECT_THAT(message, HasSubstr("rank 0: after 1 s (comm.init_timeout_seconds)"));
  EXPECT_THAT(message, HasSubstr(concat("127.0.0.1:", server_->getPort(), " (")));
  EXPECT_THAT(message, HasSubstr("): 1 3;"));
  EXPECT_THAT(message_of(std::move(rank_2)), HasSubstr("): 1 3;"));
  EXPECT_THAT(message_of(come(1, 4, 1)), HasSubstr("): 0;"));  // too late for that attempt
}

TEST_F(Meeting, ASecondProcessOfTheSameRankDoesNotComeIn) {
  auto rank_0 = come(0, 2), rank_1 = come(1, 2);
  rank_0.get();
  rank_1.get();
  EXPECT_THAT(message_of(come(1, 2, 1)), HasSubstr("): 0;"));
}

// No other process listens at this address, and this one cannot.
TEST(MeetingWithoutStore, AddressThatIsNotRankZeros) {
  for (int64_t rank : {0, 1}) {
    const Launch launch = {.rank = rank,
                           .world_size = 2,
                           .store_address = "192.0.2.1",  // of documents alone (RFC 5737)
                           .store_port = 40000,
                           .store_prefix = "job"};
    try {
      meet(launch, std::chrono::seconds(1));
      FAIL();
    } catch (const InputError& error) {
      EXPECT_THAT(error.what(), HasSubstr(concat("rank ", rank, ": cannot ")));
      EXPECT_THAT(error.what(), HasSubstr("192.0.2.1:40000 (MASTER_ADDR:MASTER_PORT)"));
      EXPECT_THAT(error.what(),
                  HasSubstr(rank == 0 ? "the address another host's?" : "is the address right"));
    }
  }
}

TEST(MeetingWithoutStore, SaysWhere) {
  const Launch launch = {.rank = 1,
                         .world_size = 2,
                         .store_address = "127.0.0.1",
                         .store_port = 1,  // nobody serves it
                         .store_prefix = "job"};
  try {
    meet(launch, std::chrono::seconds(1));
    FAIL();
  } catch (const InputError& error) {
    EXPECT_THAT(error.what(), HasSubstr("rank 1: cannot reach"));
    EXPECT_THAT(error.what(), HasSubstr("127.0.0.1:1 (MASTER_ADDR:MASTER_PORT)"));
  }
}

}  // namespace
}  // namespace titan
