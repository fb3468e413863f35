#include "lib/metrics/step_line.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <regex>

namespace titan {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInf = std::numeric_limits<double>::infinity();

// The expected lines are what torchtitan's format strings give for the same numbers in Python.

StepMetrics first_step() {
  return {.step = 1,
          .global_avg_loss = 12.24437,
          .grad_norm = 1.23456,
          .throughput = {.tps = 4.5, .tflops = 0.2171, .mfu = 0.02},
          .memory = {.max_reserved_gib = 95.1875, .max_reserved_percent = 68.234}};
}

StepMetrics large_step() {
  return {.step = 12345,
          .global_avg_loss = 2.5,
          .grad_norm = 123.45678,
          .throughput = {.tps = 1234567.5, .tflops = 1005.125, .mfu = 101.629},
          .memory = {.max_reserved_gib = 3, .max_reserved_percent = 2.145}};
}

TEST(StepLine, HasTorchtitansFieldsWidthsAndRounding) {
  EXPECT_EQ(step_line(first_step(), false),
            "step:  1  loss: 12.24437  grad_norm:  1.2346  memory: 95.19GiB(68.23%)  tps: 4  "
            "tflops: 0.22  mfu: 0.02%");
  EXPECT_EQ(step_line(large_step(), false),
            "step: 12345  loss:  2.50000  grad_norm: 123.4568  memory:  3.00GiB(2.15%)  "
            "tps: 1,234,568  tflops: 1,005.12  mfu: 101.63%");
}

TEST(StepLine, HasTorchtitansColours) {
  EXPECT_EQ(step_line(first_step(), true),
            "\x1b[31mstep:  1  \x1b[32mloss: 12.24437  \x1b[38;2;180;60;0mgrad_norm:  1.2346  "
            "\x1b[38;2;54;234;195mmemory: 95.19GiB(68.23%)  \x1b[34mtps: 4  \x1b[36mtflops: 0.22  "
            "\x1b[35mmfu: 0.02%\x1b[39m");
}

TEST(StepLine, PutsCommasAtEachThousand) {
  StepMetrics metrics = first_step();
  metrics.throughput.tps = 999.5;  // rounds to a number with one more digit
  metrics.throughput.tflops = 1e6;
  const std::string line = step_line(metrics, false);
  EXPECT_NE(line.find("tps: 1,000  tflops: 1,000,000.00  "), line.npos) << line;
  metrics.throughput.tps = 100;
  metrics.throughput.tflops = 999.99;
  EXPECT_NE(step_line(metrics, false).find("tps: 100  tflops: 999.99  "), line.npos);
}

TEST(StepLine, SpellsNonFiniteNumbersAsPython) {
  StepMetrics metrics = first_step();
  metrics.global_avg_loss = std::copysign(kNan, -1.0);
  metrics.grad_norm = kInf;
  EXPECT_NE(step_line(metrics, false).find("loss:      nan  grad_norm:     inf  "),
            std::string::npos);
  metrics.grad_norm = -kInf;
  metrics.throughput.tps = kNan;
  const std::string line = step_line(metrics, false);
  EXPECT_NE(line.find("grad_norm:    -inf  "), line.npos) << line;
  EXPECT_NE(line.find("tps: nan  "), line.npos) << line;
}

TEST(StepLine, IsReadByTorchaosBenchmarkParser) {
  const std::regex parser(R"(step:.*?(\d+).*?memory:.*?([\d.]+)GiB.*?tps:.*?([\d,]+))");
  std::smatch match;
  const std::string line =
      "[titan] 2026-01-31 12:00:00,123 - root - INFO - " + step_line(large_step(), false);
  ASSERT_TRUE(std::regex_search(line, match, parser));
  EXPECT_EQ(match[1], "12345");
  EXPECT_EQ(match[2], "3.00");
  EXPECT_EQ(match[3], "1,234,568");
}

TEST(ValidationLine, HasTorchtitansForm) {
  const ValidationMetrics metrics{
      .step = 10,
      .loss = 3.14159,
      .tps = 20345.6,
      .memory = {.max_reserved_gib = 12.3456, .max_reserved_percent = 8.7}};
  EXPECT_EQ(validation_line(metrics, false),
            "validate step: 10  loss:  3.1416  memory: 12.35GiB(8.70%)  tps: 20,346");
  EXPECT_EQ(validation_line(metrics, true),
            "\x1b[33mvalidate step: 10  \x1b[32mloss:  3.1416  \x1b[38;2;54;234;195mmemory: "
            "12.35GiB(8.70%)  \x1b[34mtps: 20,346\x1b[39m");
}

}  // namespace
}  // namespace titan
