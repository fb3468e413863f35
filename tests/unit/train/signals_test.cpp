#include "lib/train/signals.hpp"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <vector>

namespace titan {
namespace {

bool has_default_action(int number) {
  struct sigaction action = {};
  sigaction(number, nullptr, &action);
  return action.sa_handler == SIG_DFL;
}

TEST(StopSignals, TheFirstIsOnlyNoted) {
  for (int number : {SIGTERM, SIGINT}) {
    StopSignals signals;
    EXPECT_EQ(signals.received(), 0);
    EXPECT_FALSE(has_default_action(number));
    std::raise(number);
    EXPECT_EQ(signals.received(), number);
  }
}

TEST(StopSignals, HandlersGoWithTheObject) {
  { StopSignals signals; }
  EXPECT_TRUE(has_default_action(SIGTERM));
  EXPECT_TRUE(has_default_action(SIGINT));
}

TEST(StopSignalsDeathTest, ASecondOfEitherKindKills) {
  for (int first : {SIGTERM, SIGINT}) {
    for (int second : {SIGTERM, SIGINT}) {
      EXPECT_EXIT(
          {
            StopSignals signals;
            std::raise(first);
            if (signals.received() == first) std::raise(second);
          },
          testing::KilledBySignal(second), "");
    }
  }
}

// Signals as another process sends them, whose child this one may be.
enum class Sender { kParent, kElsewhere };

// Runs `check` in a child process to which each sender sends a SIGTERM in turn; its wait status.
int status_after(const std::vector<Sender>& senders) {
  int ready[2];
  EXPECT_EQ(pipe(ready), 0);
  const pid_t child = fork();
  if (child == 0) {
    StopSignals signals;
    EXPECT_EQ(write(ready[1], "x", 1), 1);
    while (signals.received() == 0) usleep(1000);
    for (int i = 0; i < 300; ++i) usleep(1000);  // a signal ends one sleep, not all
    _exit(0);
  }
  char byte;
  EXPECT_EQ(read(ready[0], &byte, 1), 1);
  close(ready[0]);
  close(ready[1]);
  for (const Sender sender : senders) {
    if (sender == Sender::kParent) {
      kill(child, SIGTERM);
    } else if (const pid_t other = fork(); other == 0) {
      kill(child, SIGTERM);
      _exit(0);
    } else {
      waitpid(other, nullptr, 0);
    }
    usleep(20 * 1000);  // equal signals at a time would become one
  }
  int status = -1;
  waitpid(child, &status, 0);
  return status;
}

TEST(StopSignals, WhatALauncherPassesOnIsNoSecondOne) {
  EXPECT_EQ(status_after({Sender::kParent}), 0);
  EXPECT_EQ(status_after({Sender::kParent, Sender::kElsewhere}), 0);
  EXPECT_EQ(status_after({Sender::kElsewhere, Sender::kParent}), 0);
  for (const auto& senders :
       std::vector<std::vector<Sender>>{{Sender::kParent, Sender::kParent},
                                        {Sender::kElsewhere, Sender::kElsewhere},
                                        {Sender::kElsewhere, Sender::kParent, Sender::kParent}}) {
    const int status = status_after(senders);
    EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
  }
}

}  // namespace
}  // namespace titan
