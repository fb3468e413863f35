// Saving that fails or dies at every single operation: afterwards a fresh process loads the old or
// the new checkpoint, whole, and goes on saving.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <thread>

#include "tests/unit/checkpoint/faulty_file_system.hpp"
#include "tests/unit/checkpoint/test_tensors.hpp"

namespace titan {
namespace {

using namespace test;  // NOLINT: the helpers of these tests
using ::testing::AnyOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using Fault = FaultyFileSystem::Fault;
namespace fs = std::filesystem;

// Steps 1 and 2 are there (step-2 with seed 2); then `step` is saved with seed 9, keeping two,
// with a fault at the k-th operation. Returns false when there was no k-th operation.
bool save_with_fault(int64_t step, Fault fault, bool power_loss, int k) {
  SCOPED_TRACE(concat("fault at operation ", k));
  TemporaryDirectory temporary;
  fs::path folder = temporary.path() / "checkpoint";
  {
    Checkpointer checkpointer({.folder = folder, .keep_latest_k = 3}, quick_files());
    for (int64_t earlier : {1, 2}) {
      if (!checkpointer.save(make_snapshot(earlier, static_cast<uint64_t>(earlier))).ok())
        ADD_FAILURE();
    }
  }

  FaultyFileSystem files(fault, k);
  SaveOutcome outcome;
  {
    Checkpointer checkpointer({.folder = folder, .keep_latest_k = 2}, files);
    outcome = checkpointer.save(make_snapshot(step, 9));
  }
  if (power_loss && files.struck()) files.lose_unsynced();

  std::optional<uint64_t> loaded = load_newest(folder);
  if (outcome.ok()) {
    EXPECT_EQ(loaded, 9u) << "a save that reported success is lost";
  } else {
    EXPECT_THAT(loaded, AnyOf(2u, 9u)) << outcome.error;
    EXPECT_THAT(outcome.error, HasSubstr("injected fault"));
  }

  // The next run finds its way.
  {
    Checkpointer checkpointer({.folder = folder, .keep_latest_k = 2}, quick_files());
    EXPECT_TRUE(checkpointer.save(make_snapshot(4, 4)).ok());
    EXPECT_EQ(checkpointer.steps().size(), 2u);
  }
  EXPECT_EQ(load_newest(folder), 4u);
  EXPECT_THAT(interim_names(folder), IsEmpty());
  return files.struck();
}

int count_faults(int64_t step, Fault fault, bool power_loss) {
  int k = 1;
  while (save_with_fault(step, fault, power_loss, k) && !::testing::Test::HasFailure()) ++k;
  return k - 1;
}

TEST(Fault, ErrorAtEveryOperation) { EXPECT_GT(count_faults(3, Fault::kError, false), 20); }
TEST(Fault, DeathAtEveryOperation) { EXPECT_GT(count_faults(3, Fault::kDeath, false), 20); }
TEST(Fault, PowerLossAtEveryOperation) { EXPECT_GT(count_faults(3, Fault::kDeath, true), 20); }

TEST(Fault, ErrorAtEveryOperationOfAReplacement) {
  EXPECT_GT(count_faults(2, Fault::kError, false), 20);
}
TEST(Fault, DeathAtEveryOperationOfAReplacement) {
  EXPECT_GT(count_faults(2, Fault::kDeath, false), 20);
}
TEST(Fault, PowerLossAtEveryOperationOfAReplacement) {
  EXPECT_GT(count_faults(2, Fault::kDeath, true), 20);
}

TEST(Fault, SimulatedPowerLossDoesLoseUnsyncedFiles) {
  TemporaryDirectory folder;
  FaultyFileSystem files(Fault::kDeath, 1000);
  FileDescriptor file = files.create_file(folder.path() / "a");
  files.write(file.get(), "123456", folder.path() / "a");
  write_file(files, folder.path() / "b", "123456");
  files.sync_directory(folder.path());
  write_file(files, folder.path() / "c", "123456");
  files.rename(folder.path() / "b", folder.path() / "d");
  files.lose_unsynced();
  EXPECT_EQ(file_text(folder.path() / "a"), "12");
  EXPECT_EQ(file_text(folder.path() / "b"), "123456");
  EXPECT_FALSE(fs::exists(folder.path() / "c"));
  EXPECT_FALSE(fs::exists(folder.path() / "d"));
}

// A process that saves without pause, killed at some moment.
TEST(Fault, KilledProcessLeavesACompleteCheckpoint) {
  TemporaryDirectory folder;
  int64_t least = 0;
  for (int round = 0; round < 8; ++round) {
    pid_t child = ::fork();
    if (child == 0) {
      Checkpointer checkpointer({.folder = folder.path(), .keep_latest_k = 2});
      for (int64_t step = least + 1;; ++step)
        checkpointer.start_save(make_snapshot(step, static_cast<uint64_t>(step)));
    }
    auto at_least_one = [&] {
      Checkpointer reader({.folder = folder.path(), .load_only = true});
      return !reader.steps().empty();
    };
    while (!at_least_one()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    std::this_thread::sleep_for(std::chrono::microseconds(10000 + round * 3700));
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    std::optional<uint64_t> loaded = load_newest(folder.path());
    ASSERT_TRUE(loaded);
    ASSERT_GE(static_cast<int64_t>(*loaded), least) << "a committed step went back";
    least = static_cast<int64_t>(*loaded);
  }
}

void expect_failed_save_keeps_the_old(const fs::path& folder,
                                      const std::function<void()>& break_disk,
                                      const std::function<void()>& repair,
                                      const std::string& message) {
  Checkpointer checkpointer({.folder = folder});
  ASSERT_TRUE(checkpointer.save(make_snapshot(1, 1)).ok());
  break_disk();
  checkpointer.start_save(make_snapshot(2, 2));
  std::vector<SaveOutcome> outcomes = checkpointer.wait();
  repair();
  ASSERT_EQ(outcomes.size(), 1u);
  EXPECT_THAT(outcomes[0].error, HasSubstr(message));
  EXPECT_EQ(load_newest(folder), 1u);
  EXPECT_THAT(interim_names(folder), IsEmpty()) << "what was written of the failed save is gone";
  EXPECT_TRUE(checkpointer.save(make_snapshot(3, 3)).ok());
}

TEST(Fault, FullDisk) {
  TemporaryDirectory folder;
  if (::mount("titan_test", folder.path().c_str(), "tmpfs", 0, "size=200k") != 0) {
    GTEST_SKIP() << "no right to mount a tmpfs";
  }
  fs::path ballast = folder.path() / "ballast";
  expect_failed_save_keeps_the_old(
      folder.path() / "checkpoint",
      [&] {
        write_text(ballast, "");
        std::error_code full;
        fs::resize_file(ballast, 0, full);
        std::string block(4096, 'x');
        std::FILE* file = std::fopen(ballast.c_str(), "w");
        while (std::fwrite(block.data(), 1, block.size(), file) == block.size() &&
               std::fflush(file) == 0) {
        }
        std::fclose(file);
        fs::resize_file(ballast,
                        fs::file_size(ballast) - 8192);  // room for directories, not for tensors
      },
      [&] { fs::remove(ballast); }, "No space left on device");
  ::umount(folder.path().c_str());
}

TEST(Fault, FileSizeLimit) {
  TemporaryDirectory folder;
  rlimit before;
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
  expect_failed_save_keeps_the_old(
      folder.path(),
      [&] {
        rlimit limit = {3000, before.rlim_max};
        ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &limit), 0);
      },
      [&] { ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0); }, "File too large");
  std::signal(SIGXFSZ, old_handler);
}

TEST(Fault, ReadOnlyFolder) {
  TemporaryDirectory folder;
  if (::mount("titan_test", folder.path().c_str(), "tmpfs", 0, "size=4m") != 0) {
    GTEST_SKIP() << "no right to mount a tmpfs";
  }
  auto remount = [&](unsigned long flags) {
    ASSERT_EQ(::mount("", folder.path().c_str(), "", MS_REMOUNT | flags, "size=4m"), 0);
  };
  {
    Checkpointer checkpointer({.folder = folder.path()});
    ASSERT_TRUE(checkpointer.save(make_snapshot(1, 1)).ok());
  }
  remount(MS_RDONLY);
  {
    Checkpointer checkpointer({.folder = folder.path()});  // a warning
    EXPECT_EQ(checkpointer.load_latest([](const CheckpointReader&) {}), 1);
    EXPECT_THAT(checkpointer.save(make_snapshot(2, 2)).error, HasSubstr("Read-only file system"));
    EXPECT_EQ(load_newest(folder.path()), 1u);
    remount(0);
    EXPECT_TRUE(checkpointer.save(make_snapshot(3, 3)).ok());
  }
  ::umount(folder.path().c_str());
}

}  // namespace
}  // namespace titan
