#include "lib/train/signals.hpp"

#include <gtest/gtest.h>

#include <csignal>

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

}  // namespace
}  // namespace titan
