#include "lib/metrics/memory.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>

#include "lib/base/error.hpp"
#include "lib/base/file.hpp"
#include "lib/metrics/memory_snapshot.hpp"
#include "tests/unit/metrics/temporary_folder.hpp"

#if TITAN_CUDA
#include <ATen/Context.h>
#include <ATen/ops/empty.h>
#include <c10/cuda/CUDACachingAllocator.h>
#endif

namespace titan {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

TEST(MemoryMonitor, IsZeroOnTheCpu) {
  MemoryMonitor monitor;
  const MemoryStats stats = monitor.peaks();
  EXPECT_EQ(stats.max_active_gib, 0);
  EXPECT_EQ(stats.max_reserved_percent, 0);
  EXPECT_EQ(stats.num_ooms, 0);
  EXPECT_EQ(monitor.capacity(), 0);
  EXPECT_THAT(monitor.capacity_line(), StartsWith("CPU: "));
}

TEST(MemorySnapshots, WarnWithoutADeviceAndWriteNothing) {
  TemporaryFolder folder;
  testing::internal::CaptureStdout();
  MemorySnapshots snapshots({.enable = true, .folder = folder / "memory_snapshot", .freq = 1});
  snapshots.step(1);
  EXPECT_THAT(testing::internal::GetCapturedStdout(),
              HasSubstr("WARNING - profiling.enable_memory_snapshot needs"));
  EXPECT_FALSE(std::filesystem::exists(folder / "memory_snapshot"));
}

#if TITAN_CUDA
class OnCuda : public testing::Test {
 protected:
  void SetUp() override {
    if (!at::globalContext().hasCUDA() || at::getNumGPUs() == 0) GTEST_SKIP() << "no GPU visible";
  }
};

at::Tensor gibibytes(int64_t count) {
  return at::empty({count << 30}, at::TensorOptions().device(at::kCUDA).dtype(at::kByte));
}

TEST_F(OnCuda, PeaksAreThoseSinceTheReset) {
  MemoryMonitor monitor(0);
  EXPECT_GT(monitor.capacity(), 0);
  EXPECT_THAT(monitor.capacity_line(), StartsWith("CUDA capacity: "));
  { at::Tensor two = gibibytes(2); }
  EXPECT_DOUBLE_EQ(monitor.peaks().max_active_gib, 2);
  EXPECT_GE(monitor.peaks().max_reserved_gib, 2);
  const double capacity_gib = static_cast<double>(monitor.capacity()) / (1 << 30);
  EXPECT_NEAR(monitor.peaks().max_active_percent, 200 / capacity_gib, 1e-9);
  monitor.reset_peaks();
  { at::Tensor one = gibibytes(1); }
  EXPECT_DOUBLE_EQ(monitor.peaks().max_active_gib, 1);
}

TEST_F(OnCuda, SnapshotsAreTakenEachFreqStepsAndWhenMemoryRunsOut) {
  TemporaryFolder folder;
  const std::string file = "rank0_memory_snapshot.pickle";
  {
    MemorySnapshots snapshots(
        {.enable = true, .folder = folder.path(), .freq = 2, .cuda_device = 0});
    at::Tensor held = gibibytes(1);
    snapshots.step(1);
    snapshots.step(2);
    snapshots.step(3);
    EXPECT_THROW(gibibytes(4096), c10::OutOfMemoryError);
  }
  EXPECT_FALSE(std::filesystem::exists(folder / "iteration_1"));
  // A pickle of protocol 2 that holds the history of the allocations.
  const std::string pickle = read_file(folder / "iteration_2" / file);
  EXPECT_THAT(pickle, StartsWith("\x80\x02"));
  EXPECT_THAT(pickle, HasSubstr("device_traces"));
  EXPECT_TRUE(std::filesystem::exists(folder / "iteration_3_exit" / file));

  EXPECT_THROW(gibibytes(4096), c10::OutOfMemoryError);  // the observer is at rest
  MemoryMonitor monitor(0);
  EXPECT_GE(monitor.peaks().num_ooms, 2);
}
#endif

}  // namespace
}  // namespace titan
