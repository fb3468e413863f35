// Many ranks that save together: any layout is loaded by any other, and what fails on one rank has
// failed on all.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>
#include <thread>

#include "tests/unit/checkpoint/sharded_models.hpp"
#include "tests/unit/checkpoint/thread_ranks.hpp"

namespace titan {
namespace {

using namespace test;  // NOLINT: the helpers of these tests
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
namespace fs = std::filesystem;

std::vector<Layout> layouts() {
  return {grid(1, 1), grid(2, 1), grid(3, 1), grid(4, 1), grid(1, 2), grid(2, 2),
          grid(1, 4), stacked(2), stacked(3), stacked(4), grid(20, 1)};  // more ranks than rows
}

void save(const fs::path& folder, int64_t step, uint64_t seed, const Layout& layout) {
  ThreadRanks ranks(layout.ranks);
  ranks.run([&](int64_t rank) {
    Checkpointer checkpointer({.folder = folder}, quick_files(), ranks.group(rank));
    SaveOutcome outcome = checkpointer.save(sharded_snapshot(step, seed, layout, rank));
    EXPECT_TRUE(outcome.ok()) << layout.name << ": " << outcome.error;
  });
}

TEST(ShardedSave, EveryLayoutIsLoadedByEveryOther) {
  for (const Layout& saving : layouts()) {
    TemporaryDirectory folder;
    save(folder.path(), 7, 3, saving);
    EXPECT_EQ(load_newest(folder.path()), 3u) << saving.name;
    for (const Layout& loading : layouts()) {
      ThreadRanks ranks(loading.ranks);
      ranks.run([&](int64_t rank) {
        Checkpointer checkpointer({.folder = folder.path(), .load_only = true}, quick_files(),
                                  ranks.group(rank));
        auto step = checkpointer.load_latest([&](const CheckpointReader& reader) {
          expect_equal_blocks(reader.model(), make_model(3), loading, rank);
          expect_equal_blocks(reader.optimizer(), make_optimizer(3), loading, rank);
          EXPECT_EQ(reader.manifest().state.at("seed"), 3);
        });
        EXPECT_EQ(step, 7);
      });
    }
  }
}

TEST(ShardedSave, EveryRankWritesItsOwnFilesAndNoEmptyOnes) {
  TemporaryDirectory folder;
  save(folder.path(), 1, 1, grid(3, 1));
  auto files = [&](const char* part) {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(folder.path() / "step-1" / part)) {
      names.push_back(entry.path().filename());
    }
    return names;
  };
  EXPECT_THAT(files("model"),
              ::testing::UnorderedElementsAre("shard-00001-model-00001-of-00001.safetensors",
                                              "shard-00002-model-00001-of-00001.safetensors",
                                              "shard-00003-model-00001-of-00001.safetensors"));
  EXPECT_EQ(files("optim").size(), 3u);
  save(folder.path(), 1, 1, grid(40, 1));  // 33 rows in the largest tensor
  EXPECT_EQ(files("model").size(), 33u);
}

TEST(ShardedSave, AllRanksLearnTheSame) {
  TemporaryDirectory folder;
  const Layout layout = grid(2, 2);
  ThreadRanks ranks(4);
  std::vector<uint64_t> bytes(4);
  ranks.run([&](int64_t rank) {
    Checkpointer checkpointer({.folder = folder.path(), .keep_latest_k = 2}, quick_files(),
                              ranks.group(rank));
    for (int64_t step = 1; step <= 3; ++step) {
      checkpointer.start_save(sharded_snapshot(step, static_cast<uint64_t>(step), layout, rank));
    }
    std::vector<SaveOutcome> outcomes = checkpointer.wait();
    EXPECT_EQ(outcomes.size(), 3u);
    for (const SaveOutcome& outcome : outcomes) EXPECT_TRUE(outcome.ok()) << outcome.error;
    bytes[static_cast<size_t>(rank)] = outcomes.back().bytes;
    EXPECT_THAT(checkpointer.steps(), ElementsAre(3, 2));
  });
  uint64_t on_disk = 0;
  for (const auto& entry : fs::recursive_directory_iterator(folder.path() / "step-3")) {
    if (entry.path().extension() == ".safetensors") on_disk += entry.file_size();
  }
  EXPECT_THAT(bytes, Each(on_disk));
  EXPECT_EQ(file_text(folder.path() / "latest"), "step-3\n");
  EXPECT_THAT(interim_names(folder.path()), IsEmpty());
}

// Saves step 1 on three ranks, then step 2 with what `change` makes of the ranks' snapshots;
// returns the ranks' messages.
std::vector<std::string> failed_save(
    const fs::path& folder, const std::function<void(int64_t rank, Snapshot& snapshot)>& change) {
  const Layout layout = grid(3, 1);
  ThreadRanks ranks(3);
  std::vector<std::string> errors(3);
  ranks.run([&](int64_t rank) {
    Checkpointer checkpointer({.folder = folder}, quick_files(), ranks.group(rank));
    EXPECT_TRUE(checkpointer.save(sharded_snapshot(1, 1, layout, rank)).ok());
    Snapshot snapshot = sharded_snapshot(2, 2, layout, rank);
    change(rank, snapshot);
    errors[static_cast<size_t>(rank)] = checkpointer.save(snapshot).error;
    EXPECT_THAT(checkpointer.steps(), ElementsAre(1));
    // Training goes on, and the next save succeeds.
    EXPECT_TRUE(checkpointer.save(sharded_snapshot(3, 3, layout, rank)).ok());
  });
  EXPECT_EQ(load_newest(folder), 3u);
  EXPECT_THAT(interim_names(folder), IsEmpty());
  return errors;
}

TEST(ShardedSave, OneRanksFailureIsThatOfAll) {
  TemporaryDirectory folder;
  auto fail_on_rank_2 = [](int64_t rank, Snapshot& snapshot) {
    if (rank != 2) return;
    snapshot.wait_until_ready = [] { throw std::runtime_error("copy from the device failed"); };
  };
  EXPECT_THAT(failed_save(folder.path(), fail_on_rank_2),
              Each("rank 2: copy from the device failed"));
}

TEST(ShardedSave, AMissingBlockIsNeverPublished) {
  TemporaryDirectory folder;
  auto drop = [](int64_t rank, Snapshot& snapshot) {
    if (rank == 1) snapshot.optimizer.pop_back();
  };
  EXPECT_THAT(failed_save(folder.path(), drop), Each(HasSubstr("do not fill its shape")));
}

TEST(ShardedSave, ABlockGivenTwiceIsNeverPublished) {
  TemporaryDirectory folder;
  const Layout layout = grid(3, 1);
  auto repeat = [&](int64_t rank, Snapshot& snapshot) {
    if (rank == 2) snapshot = sharded_snapshot(2, 2, layout, 1);
  };
  EXPECT_THAT(failed_save(folder.path(), repeat), Each(HasSubstr("do not fill its shape")));
}

TEST(ShardedSave, RanksThatDifferInATensorAreNamed) {
  TemporaryDirectory folder;
  auto widen = [](int64_t rank, Snapshot& snapshot) {
    if (rank == 2) snapshot.model.back().global_shape[0] += 1;
  };
  EXPECT_THAT(failed_save(folder.path(), widen),
              Each("rank 2 has tok_embeddings.weight as F32 [34, 8], an earlier rank as F32 "
                   "[33, 8]"));
}

TEST(ShardedSave, FolderThatARankCannotSee) {
  TemporaryDirectory folder;
  std::promise<void> hidden;
  std::shared_future<void> wait = hidden.get_future();
  auto hide = [&](int64_t rank, Snapshot& snapshot) {
    snapshot.wait_until_ready = [&, rank] {
      if (rank != 1) return wait.get();
      fs::rename(folder.path() / ".saving-2", folder.path() / "hidden");
      hidden.set_value();
    };
    if (rank == 0) snapshot.model.clear(), snapshot.optimizer.clear();  // nothing to fail at
  };
  EXPECT_THAT(failed_save(folder.path(), hide),
              Each(HasSubstr("checkpoint.folder must be on a file system that all hosts share")));
}

TEST(ShardedSave, ARankThatNeverComesFailsTheSave) {
  TemporaryDirectory folder;
  const Layout layout = grid(3, 1);
  save(folder.path(), 1, 1, layout);
  ThreadRanks ranks(3, std::chrono::milliseconds(300));
  ranks.run([&](int64_t rank) {
    Checkpointer checkpointer({.folder = folder.path()}, quick_files(), ranks.group(rank));
    if (rank == 2) return;
    SaveOutcome outcome = checkpointer.save(sharded_snapshot(2, 2, layout, rank));
    EXPECT_EQ(outcome.error, "a rank is gone");
  });
  EXPECT_EQ(load_newest(folder.path()), 1u);
  EXPECT_THAT(interim_names(folder.path()), IsEmpty());
}

TEST(ShardedSave, RankZeroAloneLocksAndAllHearOfIt) {
  TemporaryDirectory folder;
  Checkpointer other_job({.folder = folder.path()}, quick_files());
  ThreadRanks ranks(3);
  ranks.run([&](int64_t rank) {
    try {
      Checkpointer checkpointer({.folder = folder.path()}, quick_files(), ranks.group(rank));
      ADD_FAILURE();
    } catch (const InputError& error) {
      EXPECT_THAT(error.what(), HasSubstr("in use by process"));
    }
  });
}

// ---- Loading ----

// The error of loading on every rank of three; `load` is given the rank.
std::vector<std::string> load_errors(
    const fs::path& folder,
    const std::function<void(int64_t rank, const CheckpointReader& reader)>& load) {
  ThreadRanks ranks(3);
  std::vector<std::string> errors(3);
  ranks.run([&](int64_t rank) {
    Checkpointer checkpointer({.folder = folder, .load_only = true}, quick_files(),
                              ranks.group(rank));
    try {
      checkpointer.load_latest([&](const CheckpointReader& reader) { load(rank, reader); });
    } catch (const InputError& error) {
      errors[static_cast<size_t>(rank)] = error.what();
    }
  });
  return errors;
}

TEST(ShardedLoad, DamageSeenByOneRankTakesAllToTheStepBefore) {
  TemporaryDirectory folder;
  const Layout layout = grid(3, 1);
  for (int64_t step : {1, 2}) save(folder.path(), step, static_cast<uint64_t>(step), layout);
  const fs::path shard =
      folder.path() / "step-2" / "optim" / "shard-00003-model-00001-of-00001.safetensors";
  std::string text = file_text(shard);
  text[text.size() - 3] ^= 1;
  write_text(shard, text);
  std::vector<uint64_t> loaded(3);
  auto load = [&](int64_t rank, const CheckpointReader& reader) {
    const auto seed = reader.manifest().state.at("seed").get<uint64_t>();
    loaded[static_cast<size_t>(rank)] = seed;
    expect_equal_blocks(reader.model(), make_model(seed), layout, rank);
    expect_equal_blocks(reader.optimizer(), make_optimizer(seed), layout, rank);
  };
  EXPECT_THAT(load_errors(folder.path(), load), Each(""));
  EXPECT_THAT(loaded, Each(1u));

  fs::remove_all(folder.path() / "step-1");
  EXPECT_THAT(load_errors(folder.path(), load),
              Each(::testing::AllOf(HasSubstr("no checkpoint in"), HasSubstr("step-2: rank 2: "),
                                    HasSubstr("was altered"))));
}

TEST(ShardedLoad, InputErrorOfOneRankIsThatOfAll) {
  TemporaryDirectory folder;
  save(folder.path(), 1, 1, grid(1, 1));
  auto load = [](int64_t rank, const CheckpointReader&) {
    if (rank == 1) throw InputError("the checkpoint is of another model");
  };
  EXPECT_THAT(load_errors(folder.path(), load), Each("rank 1: the checkpoint is of another model"));
}

TEST(ShardedLoad, ARankThatSeesAnotherFolderSaysSo) {
  TemporaryDirectory folder, other;
  save(folder.path(), 1, 1, grid(1, 1));
  ThreadRanks ranks(2);
  ranks.run([&](int64_t rank) {
    Checkpointer checkpointer(
        {.folder = rank == 0 ? folder.path() : other.path(), .load_only = true}, quick_files(),
        ranks.group(rank));
    try {
      checkpointer.load_latest([](const CheckpointReader&) {});
      ADD_FAILURE();
    } catch (const InputError& error) {
      EXPECT_THAT(error.what(), HasSubstr("rank 1: "));
      EXPECT_THAT(error.what(), HasSubstr("on a file system that all hosts share"));
    }
  });
}

TEST(ShardedLoad, NoCheckpointIsNoneOnAllRanks) {
  TemporaryDirectory folder;
  ThreadRanks ranks(3);
  ranks.run([&](int64_t rank) {
    Checkpointer checkpointer({.folder = folder.path()}, quick_files(), ranks.group(rank));
    EXPECT_EQ(checkpointer.load_latest([](const CheckpointReader&) {}), std::nullopt);
    EXPECT_THROW(checkpointer.load_step(4, [](const CheckpointReader&) {}), InputError);
  });
}

}  // namespace
}  // namespace titan
