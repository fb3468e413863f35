#include "lib/metrics/throughput.hpp"

#include <gtest/gtest.h>

namespace titan {
namespace {

class ThroughputMeterTest : public testing::Test {
 protected:
  double now_ = 100;
  std::function<double()> clock_ = [this] { return now_; };
};

TEST_F(ThroughputMeterTest, CountsFromItsConstruction) {
  ThroughputMeter meter({.flops_per_token = 2e9, .peak_flops = 1e14}, 0, clock_);
  now_ += 2;  // model initialisation belongs to the first interval
  meter.add_batch(4096, 0.25);
  meter.add_batch(4096, 0.75);
  now_ += 2;
  const Throughput reading = meter.read(1);
  EXPECT_DOUBLE_EQ(reading.tps, 2048);
  EXPECT_DOUBLE_EQ(reading.tflops, 4.096);
  EXPECT_DOUBLE_EQ(reading.mfu, 4.096);
  EXPECT_DOUBLE_EQ(reading.end_to_end_seconds, 4);
  EXPECT_DOUBLE_EQ(reading.data_loading_seconds, 0.5);
  EXPECT_DOUBLE_EQ(reading.data_loading_percent, 25);
}

TEST_F(ThroughputMeterTest, EachReadingStartsANewInterval) {
  ThroughputMeter meter({}, 30, clock_);
  now_ += 7;
  meter.add_batch(1000, 5);
  meter.read(35);
  now_ += 10;
  meter.add_batch(500, 1);
  const Throughput reading = meter.read(40);
  EXPECT_DOUBLE_EQ(reading.tps, 50);
  EXPECT_DOUBLE_EQ(reading.end_to_end_seconds, 2);  // five steps
  EXPECT_DOUBLE_EQ(reading.data_loading_percent, 10);
}

TEST_F(ThroughputMeterTest, SharesTokensAmongTheDevicesOfABatch) {
  ThroughputMeter meter({.non_data_parallel_size = 4}, 0, clock_);
  meter.add_batch(8000, 0);
  now_ += 2;
  EXPECT_DOUBLE_EQ(meter.read(1).tps, 1000);
}

TEST_F(ThroughputMeterTest, IsFiniteWithoutPeakBatchesOrTime) {
  ThroughputMeter meter({.flops_per_token = 1e9}, 5, clock_);
  const Throughput reading = meter.read(5);
  EXPECT_EQ(reading.tps, 0);
  EXPECT_EQ(reading.mfu, 0);
  EXPECT_EQ(reading.data_loading_seconds, 0);
}

}  // namespace
}  // namespace titan
