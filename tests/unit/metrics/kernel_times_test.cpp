#include "lib/metrics/kernel_times.hpp"

#include <gtest/gtest.h>

namespace titan {
namespace {

constexpr uint64_t kMs = 1'000'000;

KernelTimes::Interval between(uint64_t start, uint64_t end) { return {start * kMs, end * kMs}; }

TEST(KernelTimes, OverlapCountsOnce) {
  EXPECT_EQ(covered_milliseconds({}), 0);
  EXPECT_EQ(covered_milliseconds({between(5, 7), between(1, 3)}), 4);
  EXPECT_EQ(covered_milliseconds({between(1, 9), between(2, 3), between(8, 12), between(12, 13)}),
            12);
}

TEST(KernelTimes, ExposedIsWhatRunsBesideNothing) {
  KernelTimes times;
  times.span_milliseconds = 20;
  times.intervals["gemm"] = {between(0, 5), between(8, 10)};
  times.intervals["ncclDevKernel_AllGather"] = {between(4, 7), between(8, 9)};
  times.intervals["Memcpy PtoP (Device -> Device)"] = {between(14, 20)};
  times.intervals["rms_norm"] = {between(14, 15)};
  const CommunicationTime communication = communication_time(times);
  EXPECT_EQ(communication.milliseconds, 10);
  EXPECT_EQ(communication.exposed_milliseconds, 2 + 5);
  EXPECT_EQ(idle_milliseconds(times), 1 + 4);
}

}  // namespace
}  // namespace titan
