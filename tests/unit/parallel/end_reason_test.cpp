#include "lib/parallel/end_reason.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <future>
#include <torch/csrc/distributed/c10d/HashStore.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

namespace titan {
namespace {

using testing::HasSubstr;
using Clock = std::chrono::steady_clock;

std::future<EndReason> ask(const c10::intrusive_ptr<c10d::Store>& store, int64_t rank,
                           int64_t size) {
  return std::async(std::launch::async,
                    [=] { return ask_end_reason(store, rank, size, "connection closed"); });
}

TEST(EndReason, TheOthersGiveThatOfTheRankAtFault) {
  const auto store = c10::make_intrusive<c10d::HashStore>();
  auto early = ask(store, 0, 3);
  leave_end_reason(store, 1, {.status = 2, .text = "no \"data.bin\"\nand more: \xff"});
  auto late = ask(store, 2, 3);
  for (const EndReason& reason : {early.get(), late.get()}) {
    EXPECT_EQ(reason.status, 2);
    EXPECT_THAT(reason.text, HasSubstr("rank 1 has failed: no \"data.bin\"\nand more: "));
  }
}

TEST(EndReason, TheFirstCounts) {
  const auto store = c10::make_intrusive<c10d::HashStore>();
  leave_end_reason(store, 1, {.text = "first"});
  leave_end_reason(store, 0, {.text = "second"});
  EXPECT_EQ(ask(store, 2, 3).get().text, "rank 1 has failed: first");
}

TEST(EndReason, WhoeverIsSilentIsNamed) {
  const auto store = c10::make_intrusive<c10d::HashStore>();
  auto rank_0 = ask(store, 0, 4), rank_3 = ask(store, 3, 4);
  const EndReason reason = rank_0.get();
  EXPECT_EQ(reason.status, 1);
  EXPECT_THAT(reason.text, HasSubstr("ranks 1, 2 do not answer: "));
  EXPECT_THAT(reason.text, HasSubstr("saw: connection closed"));
  EXPECT_EQ(rank_3.get().text, reason.text);
}

TEST(EndReason, TheLauncherHasASecond) {
  const auto store = c10::make_intrusive<c10d::HashStore>();
  leave_end_reason(store, 1, {.text = "gone"});
  const auto begin = Clock::now();
  ask(store, 0, 2).get();
  EXPECT_GE(Clock::now() - begin, std::chrono::seconds(1));
}

TEST(EndReason, WithoutTheStore) {
  c10d::TCPStoreOptions options;
  options.isServer = true;
  options.waitWorkers = false;
  options.port = 0;
  auto server = c10::make_intrusive<c10d::TCPStore>("127.0.0.1", options);
  options.isServer = false;
  options.port = server->getPort();
  const auto client = c10::make_intrusive<c10d::TCPStore>("127.0.0.1", options);
  server.reset();
  leave_end_reason(client, 1, {.text = "lost"});
  wait_for_questions(client, 2);
  const EndReason reason = ask_end_reason(client, 1, 2, "connection closed");
  EXPECT_EQ(reason.status, 1);
  EXPECT_THAT(reason.text, HasSubstr("with it the ranks' meeting point"));
  EXPECT_THAT(reason.text, HasSubstr("rank 1 saw: connection closed"));
}

}  // namespace
}  // namespace titan
