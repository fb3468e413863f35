#include "lib/base/log.hpp"

#include <gtest/gtest.h>

#include <functional>
#include <regex>
#include <sstream>
#include <thread>
#include <vector>

namespace titan::log {
namespace {

std::string logged(const std::function<void()>& action) {
  testing::internal::CaptureStdout();
  action();
  flush();
  return testing::internal::GetCapturedStdout();
}

constexpr const char* kStart = R"(\[titan\] \d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} - root - )";

TEST(Log, LinesAreInTorchtitansForm) {
  EXPECT_TRUE(std::regex_match(logged([] { info("step:  1 {} %d"); }),
                               std::regex(std::string(kStart) + R"(INFO - step:  1 \{\} %d\n)")));
  EXPECT_TRUE(std::regex_match(logged([] { warning("w"); }),
                               std::regex(std::string(kStart) + "WARNING - w\n")));
  EXPECT_TRUE(std::regex_match(logged([] { error("e"); }),
                               std::regex(std::string(kStart) + "ERROR - e\n")));
}

TEST(Log, QuietRanksStillWarn) {
  const std::string text = logged([] {
    set_info_enabled(false);
    info("hidden");
    warning("seen");
    set_info_enabled(true);
    info("again");
  });
  EXPECT_EQ(text.find("hidden"), std::string::npos);
  EXPECT_NE(text.find("seen"), std::string::npos);
  EXPECT_NE(text.find("again"), std::string::npos);
}

TEST(Log, LinesOfSeveralThreadsStayWhole) {
  const std::string text = logged([] {
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([] {
        for (int i = 0; i < 100; ++i) info("one whole line");
      });
    }
    for (std::thread& thread : threads) thread.join();
  });
  const std::regex line(std::string(kStart) + "INFO - one whole line");
  std::istringstream lines(text);
  int count = 0;
  for (std::string each; std::getline(lines, each); ++count) {
    ASSERT_TRUE(std::regex_match(each, line)) << each;
  }
  EXPECT_EQ(count, 400);
}

TEST(Log, NoColoursIntoAFileOrPipe) {
  std::string text = logged([] { EXPECT_FALSE(colours_wanted()); });
  EXPECT_EQ(text, "");
}

}  // namespace
}  // namespace titan::log
