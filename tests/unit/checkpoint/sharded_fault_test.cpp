// Ranks that save together while one of them fails or dies at every single operation: all ranks
// tell the same outcome, a fresh job loads the old or the new checkpoint, whole, and goes on
// saving.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/checkpoint/faulty_file_system.hpp"
#include "tests/unit/checkpoint/sharded_models.hpp"
#include "tests/unit/checkpoint/thread_ranks.hpp"

namespace titan {
namespace {

using namespace test;  // NOLINT: the helpers of these tests
using ::testing::AnyOf;
using ::testing::Each;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using Fault = FaultyFileSystem::Fault;
namespace fs = std::filesystem;

constexpr int64_t kRanks = 3;

struct FaultCase {
  int64_t victim;
  Fault fault;  // kDeath: the whole rank dies
  bool power_loss = false;
  int64_t step = 3;  // 2 replaces one that is there
};

Snapshot part(int64_t step, uint64_t seed, int64_t rank) {
  static const Layout layout = grid(kRanks, 1);
  return sharded_snapshot(step, seed, layout, rank);
}

void save_well(const fs::path& folder, int64_t step, uint64_t seed, int keep) {
  ThreadRanks ranks(kRanks);
  ranks.run([&](int64_t rank) {
    Checkpointer checkpointer({.folder = folder, .keep_latest_k = keep}, quick_files(),
                              ranks.group(rank));
    SaveOutcome outcome = checkpointer.save(part(step, seed, rank));
    EXPECT_TRUE(outcome.ok()) << outcome.error;
  });
}

// Steps 1 and 2 are there (step-2 with seed 2); then the case's step is saved with seed 9, with a
// fault at the victim's k-th operation. Returns false when it had no k-th operation.
bool save_with_fault(const FaultCase& test, int k) {
  SCOPED_TRACE(concat("rank ", test.victim, ", fault at operation ", k));
  TemporaryDirectory temporary;
  fs::path folder = temporary.path() / "checkpoint";
  for (int64_t step : {1, 2}) save_well(folder, step, static_cast<uint64_t>(step), 3);

  auto disk = std::make_shared<UnsyncedState>();
  std::vector<std::unique_ptr<FaultyFileSystem>> files;
  for (int64_t rank = 0; rank < kRanks; ++rank) {
    files.push_back(std::make_unique<FaultyFileSystem>(
        test.fault, rank == test.victim ? k : FaultyFileSystem::kNever, disk));
  }
  auto die = [&] {
    FaultyFileSystem& of_victim = *files[static_cast<size_t>(test.victim)];
    if (test.fault == Fault::kDeath && of_victim.struck()) throw Error("this rank has died");
  };
  ThreadRanks ranks(kRanks);
  std::vector<std::string> errors(kRanks);
  ranks.run([&](int64_t rank) {
    std::string& error = errors[static_cast<size_t>(rank)];
    try {
      Checkpointer checkpointer(
          {.folder = folder, .keep_latest_k = 2}, *files[static_cast<size_t>(rank)],
          ranks.group(rank, rank == test.victim ? die : std::function<void()>()));
      error = checkpointer.save(part(test.step, 9, rank)).error;
    } catch (const Error& failure) {  // the victim died while the folder was being cleared
      error = failure.what();
    }
  });
  const bool struck = files[static_cast<size_t>(test.victim)]->struck();
  if (test.power_loss && struck) files[0]->lose_unsynced();

  std::optional<uint64_t> loaded = load_newest(folder);
  const bool told_of_success = ::testing::Matches(::testing::Contains(""))(errors);
  if (told_of_success) {
    EXPECT_EQ(loaded, 9u) << "a save that reported success is lost";
  } else {
    EXPECT_THAT(loaded, AnyOf(2u, 9u)) << errors[0];
  }
  if (test.fault == Fault::kError) {
    EXPECT_THAT(errors, Each(errors[0]));
    if (!told_of_success) {
      EXPECT_THAT(errors[0], HasSubstr("injected fault"));
    }
  }

  // The next run finds its way.
  save_well(folder, 4, 4, 2);
  EXPECT_EQ(load_newest(folder), 4u);
  EXPECT_THAT(interim_names(folder), IsEmpty());
  return struck;
}

int count_faults(const FaultCase& test) {
  int k = 1;
  while (save_with_fault(test, k) && !::testing::Test::HasFailure()) ++k;
  return k - 1;
}

class ShardedFault : public ::testing::TestWithParam<FaultCase> {};

TEST_P(ShardedFault, AtEveryOperation) {
  // Rank 0 makes directories, writes the manifest and publishes beside writing its files.
  EXPECT_GT(count_faults(GetParam()), GetParam().victim == 0 ? 30 : 10);
}

INSTANTIATE_TEST_SUITE_P(
    All, ShardedFault,
    ::testing::Values(FaultCase{0, Fault::kError}, FaultCase{0, Fault::kDeath},
                      FaultCase{0, Fault::kDeath, true}, FaultCase{0, Fault::kError, false, 2},
                      FaultCase{0, Fault::kDeath, true, 2}, FaultCase{2, Fault::kError},
                      FaultCase{2, Fault::kDeath}, FaultCase{2, Fault::kDeath, true},
                      FaultCase{1, Fault::kDeath, true, 2}),
    [](const auto& info) {
      const FaultCase& test = info.param;
      return concat("rank", test.victim, test.fault == Fault::kError ? "_error" : "_death",
                    test.power_loss ? "_power_loss" : "", "_step", test.step);
    });

// Death between operations: at every message that the victim would have sent.
TEST(ShardedDeath, AtEveryExchange) {
  for (int64_t victim = 0; victim < kRanks; ++victim) {
    int exchanges = 0;
    for (int at = 1;; ++at) {
      SCOPED_TRACE(concat("rank ", victim, " dies at exchange ", at));
      TemporaryDirectory folder;
      save_well(folder.path(), 1, 1, 2);
      ThreadRanks ranks(kRanks);
      exchanges = 0;
      std::vector<std::string> errors(kRanks, "none");
      ranks.run([&](int64_t rank) {
        auto die = [&] {
          if (rank == victim && ++exchanges == at) throw Error("this rank has died");
        };
        try {
          Checkpointer checkpointer({.folder = folder.path()}, quick_files(),
                                    ranks.group(rank, die));
          errors[static_cast<size_t>(rank)] = checkpointer.save(part(2, 2, rank)).error;
        } catch (const Error& failure) {
          errors[static_cast<size_t>(rank)] = failure.what();
        }
      });
      const bool ended = exchanges < at;  // it had no such exchange
      EXPECT_EQ(::testing::Matches(Each(""))(errors), ended);
      EXPECT_THAT(load_newest(folder.path()), ended ? AnyOf(2u, 2u) : AnyOf(1u, 2u));
      save_well(folder.path(), 3, 3, 2);
      EXPECT_EQ(load_newest(folder.path()), 3u);
      EXPECT_THAT(interim_names(folder.path()), IsEmpty());
      if (ended || HasFailure()) break;
    }
    EXPECT_GE(exchanges, 4);
  }
}

}  // namespace
}  // namespace titan
