// The life of a folder of checkpoints: saving at once and behind, keeping the newest, locking,
// choosing.
#include "lib/checkpoint/checkpointer.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <future>

#include "tests/unit/checkpoint/test_tensors.hpp"

namespace titan {
namespace {

using namespace test;  // NOLINT: the helpers of these tests
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::ThrowsMessage;
namespace fs = std::filesystem;

TEST(Checkpointer, SavesAndLoadsAll) {
  TemporaryDirectory temporary;
  fs::path folder = temporary.path() / "a" / "b";
  Snapshot snapshot = make_snapshot(10, 7);
  snapshot.model_description = {{"name", "llama3"}};
  snapshot.state = {{"seed", 7}, {"tokens", 18446744073709551615u}, {"lr", 3.0000000000000001e-4}};
  Checkpointer checkpointer({.folder = folder});
  SaveOutcome outcome = checkpointer.save(snapshot);
  ASSERT_TRUE(outcome.ok()) << outcome.error;
  EXPECT_EQ(outcome.step, 10);
  EXPECT_GT(outcome.bytes, 5000u);
  EXPECT_EQ(file_text(folder / "latest"), "step-10\n");
  EXPECT_THAT(interim_names(folder), IsEmpty());

  checkpointer.load_step(10, [&](const CheckpointReader& reader) {
    expect_equal(reader.model(), make_model(7));
    expect_equal(reader.optimizer(), make_optimizer(7));
    EXPECT_EQ(reader.manifest().state, snapshot.state);
    EXPECT_EQ(reader.manifest().model, snapshot.model_description);
    EXPECT_FALSE(reader.manifest().model_only);
  });
}

TEST(Checkpointer, NewestIsByNumberNotByName) {
  TemporaryDirectory folder;
  Checkpointer checkpointer({.folder = folder.path()}, quick_files());
  for (int64_t step : {9, 100, 20}) ASSERT_TRUE(checkpointer.save(make_snapshot(step, step)).ok());
  for (const char* name : {"step-007", "step-1000.bak", "step-", "step-x", "xstep-500"}) {
    fs::create_directory(folder.path() / name);
  }
  EXPECT_THAT(checkpointer.steps(), ElementsAre(100, 20, 9));
  EXPECT_EQ(load_newest(folder.path()), 100u);
}

TEST(Checkpointer, BackgroundSaveLetsTrainingGoOn) {
  TemporaryDirectory folder;
  Checkpointer checkpointer({.folder = folder.path()}, quick_files());
  std::promise<void> copied;
  std::shared_future<void> wait = copied.get_future();
  Snapshot snapshot = make_snapshot(1, 1);
  std::weak_ptr<void> buffers = snapshot.keep_alive;
  snapshot.wait_until_ready = [wait] { wait.get(); };
  checkpointer.start_save(std::move(snapshot));
  // The save cannot have ended: it waits for us.
  EXPECT_THAT(checkpointer.finished(), IsEmpty());
  EXPECT_EQ(load_newest(folder.path()), std::nullopt);
  EXPECT_FALSE(buffers.expired());
  copied.set_value();
  std::vector<SaveOutcome> outcomes = checkpointer.wait();
  ASSERT_EQ(outcomes.size(), 1u);
  EXPECT_TRUE(outcomes[0].ok());
  EXPECT_TRUE(buffers.expired()) << "the buffers are let go of when the save has ended";
  EXPECT_EQ(load_newest(folder.path()), 1u);
  EXPECT_THAT(checkpointer.wait(), IsEmpty()) << "an outcome is handed out once";
}

TEST(Checkpointer, BackgroundSavesFollowEachOtherInOrder) {
  TemporaryDirectory folder;
  {
    Checkpointer checkpointer({.folder = folder.path(), .keep_latest_k = 0}, quick_files());
    std::vector<int64_t> started;
    for (int64_t step = 1; step <= 5; ++step) {
      Snapshot snapshot = make_snapshot(step, step);
      snapshot.wait_until_ready = [&started, step] { started.push_back(step); };
      checkpointer.start_save(std::move(snapshot));
    }
    ASSERT_TRUE(checkpointer.save(make_snapshot(6, 6)).ok());  // waits for the fifth
    EXPECT_THAT(started, ElementsAre(1, 2, 3, 4, 5));
    std::vector<int64_t> ended;
    for (const SaveOutcome& outcome : checkpointer.wait()) {
      EXPECT_TRUE(outcome.ok());
      ended.push_back(outcome.step);
    }
    EXPECT_THAT(ended, ElementsAre(1, 2, 3, 4, 5));
    checkpointer.start_save(make_snapshot(7, 7));
  }
  EXPECT_EQ(load_newest(folder.path()), 7u) << "the destructor waits";
}

TEST(Checkpointer, FailureWhileCopyingIsAnOutcome) {
  TemporaryDirectory folder;
  Checkpointer checkpointer({.folder = folder.path()}, quick_files());
  ASSERT_TRUE(checkpointer.save(make_snapshot(1, 1)).ok());
  Snapshot snapshot = make_snapshot(2, 2);
  snapshot.wait_until_ready = [] { throw std::runtime_error("copy from the device failed"); };
  checkpointer.start_save(std::move(snapshot));
  std::vector<SaveOutcome> outcomes = checkpointer.wait();
  ASSERT_EQ(outcomes.size(), 1u);
  EXPECT_THAT(outcomes[0].error, HasSubstr("copy from the device failed"));
  EXPECT_EQ(load_newest(folder.path()), 1u);
}

TEST(Checkpointer, WrongSnapshotsThrow) {
  TemporaryDirectory folder;
  Checkpointer checkpointer({.folder = folder.path()}, quick_files());
  Snapshot twice = make_snapshot(1, 1);
  twice.model.push_back(twice.model[0]);
  EXPECT_THROW(checkpointer.save(twice), Error);
  Snapshot cut = make_snapshot(1, 1);
  cut.model[0].bytes = cut.model[0].bytes.first(4);
  EXPECT_THROW(checkpointer.start_save(cut), Error);
  Snapshot narrow = make_snapshot(1, 1);
  narrow.export_dtype = Dtype::kBfloat16;
  EXPECT_THROW(checkpointer.save(narrow), Error);
  EXPECT_THAT(checkpointer.steps(), IsEmpty());
}

TEST(Checkpointer, PartOfATensorIsNeverPublished) {
  TemporaryDirectory folder;
  Checkpointer checkpointer({.folder = folder.path()}, quick_files());
  Snapshot snapshot = make_snapshot(1, 1);
  TensorSlice& slice = snapshot.model.back();  // [33, 8]
  slice.shape[0] -= 1;
  slice.bytes = slice.bytes.first(slice.bytes.size() - 32);
  EXPECT_THAT(checkpointer.save(snapshot).error, HasSubstr("do not fill its shape"));
  EXPECT_THAT(checkpointer.steps(), IsEmpty());
  EXPECT_THAT(interim_names(folder.path()), IsEmpty());
}

TEST(Checkpointer, KeepsTheNewestK) {
  TemporaryDirectory folder;
  Checkpointer checkpointer({.folder = folder.path(), .keep_latest_k = 3}, quick_files());
  for (int64_t step = 1; step <= 6; ++step)
    ASSERT_TRUE(checkpointer.save(make_snapshot(step, 1)).ok());
  EXPECT_THAT(checkpointer.steps(), ElementsAre(6, 5, 4));
}

TEST(Checkpointer, NeverDeletesTheLoadedStep) {
  TemporaryDirectory folder;
  {
    Checkpointer checkpointer({.folder = folder.path(), .keep_latest_k = 0}, quick_files());
    for (int64_t step = 1; step <= 3; ++step)
      ASSERT_TRUE(checkpointer.save(make_snapshot(step, 1)).ok());
  }
  {
    Checkpointer checkpointer({.folder = folder.path(), .keep_latest_k = 2}, quick_files());
    checkpointer.load_step(2, [](const CheckpointReader&) {});
    // 3 is newer than what was loaded and belongs to another course of the run: it stays,
    // uncounted.
    fs::rename(folder.path() / "step-3", folder.path() / "step-99");
    for (int64_t step = 4; step <= 7; ++step)
      ASSERT_TRUE(checkpointer.save(make_snapshot(step, 1)).ok());
    EXPECT_THAT(checkpointer.steps(), ElementsAre(99, 7, 6, 2));
  }
  EXPECT_THAT(interim_names(folder.path()), IsEmpty());
}

TEST(Checkpointer, HalfWrittenStepsDoNotCount) {
  TemporaryDirectory folder;
  Checkpointer checkpointer({.folder = folder.path(), .keep_latest_k = 2}, quick_files());
  ASSERT_TRUE(checkpointer.save(make_snapshot(1, 1)).ok());
  fs::create_directory(folder.path() / "step-2");
  ASSERT_TRUE(checkpointer.save(make_snapshot(3, 1)).ok());
  EXPECT_THAT(checkpointer.steps(), ElementsAre(3, 2, 1));
}

TEST(Checkpointer, ReplacesAStepThatIsThere) {
  TemporaryDirectory folder;
  {
    Checkpointer checkpointer({.folder = folder.path()}, quick_files());
    ASSERT_TRUE(checkpointer.save(make_snapshot(5, 1)).ok());
    ASSERT_TRUE(checkpointer.save(make_snapshot(5, 2)).ok());
  }
  EXPECT_EQ(load_newest(folder.path()), 2u);
  EXPECT_THAT(interim_names(folder.path()), IsEmpty());
}

TEST(Checkpointer, ClearsWhatAnInterruptedJobLeft) {
  TemporaryDirectory folder;
  {
    ASSERT_TRUE(
        Checkpointer({.folder = folder.path()}, quick_files()).save(make_snapshot(5, 1)).ok());
  }
  fs::create_directories(folder.path() / ".saving-6" / "model");
  fs::create_directories(folder.path() / ".trash-1" / "model");
  fs::create_directories(folder.path() / ".old-5" / "model");
  fs::create_directories(folder.path() / ".saving-mine");  // not ours to delete
  { Checkpointer checkpointer({.folder = folder.path()}, quick_files()); }
  EXPECT_THAT(interim_names(folder.path()), ElementsAre(".saving-mine"));
  EXPECT_EQ(load_newest(folder.path()), 1u);
}

TEST(Checkpointer, FindsAStepThatWasBeingReplaced) {
  TemporaryDirectory folder;
  {
    ASSERT_TRUE(
        Checkpointer({.folder = folder.path()}, quick_files()).save(make_snapshot(5, 1)).ok());
  }
  fs::rename(folder.path() / "step-5", folder.path() / ".old-5");
  EXPECT_EQ(load_newest(folder.path()), 1u) << "read-only, where it lies";
  { Checkpointer checkpointer({.folder = folder.path()}, quick_files()); }
  EXPECT_TRUE(fs::exists(folder.path() / "step-5" / kManifestName));
}

TEST(Checkpointer, OneJobAtATime) {
  TemporaryDirectory folder;
  {
    Checkpointer first({.folder = folder.path()}, quick_files());
    try {
      Checkpointer second({.folder = folder.path()}, quick_files());
      FAIL();
    } catch (const InputError& error) {
      EXPECT_THAT(error.what(), HasSubstr(concat("process ", ::getpid())));
      EXPECT_THAT(error.what(), HasSubstr("in use"));
    }
    EXPECT_NO_THROW(Checkpointer({.folder = folder.path(), .load_only = true}));
  }
  EXPECT_NO_THROW(Checkpointer({.folder = folder.path()}, quick_files()));
}

TEST(Checkpointer, LockOfADeadJobIsNoObstacle) {
  TemporaryDirectory folder;
  int ready[2];
  ASSERT_EQ(::pipe(ready), 0);
  pid_t child = ::fork();
  if (child == 0) {
    Checkpointer checkpointer({.folder = folder.path()}, quick_files());
    char byte = 'r';
    if (::write(ready[1], &byte, 1) != 1) ::_exit(1);
    ::pause();
  }
  char byte;
  ASSERT_EQ(::read(ready[0], &byte, 1), 1);
  EXPECT_THROW(Checkpointer({.folder = folder.path()}, quick_files()), InputError);
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  EXPECT_NO_THROW(Checkpointer({.folder = folder.path()}, quick_files()));
}

TEST(Checkpointer, LoadOnlyWritesNothing) {
  TemporaryDirectory temporary;
  fs::path folder = temporary.path() / "checkpoint";
  Checkpointer checkpointer({.folder = folder, .load_only = true});
  EXPECT_THAT(checkpointer.save(make_snapshot(1, 1)).error, HasSubstr("load_only"));
  EXPECT_FALSE(fs::exists(folder));
}

TEST(Checkpointer, FolderThatCannotBeMadeIsRefused) {
  TemporaryDirectory temporary;
  write_text(temporary.path() / "file", "");
  const auto open = [&] {
    Checkpointer({.folder = temporary.path() / "file" / "checkpoint"}, quick_files());
  };
  EXPECT_THAT(open, ThrowsMessage<InputError>(
                        AllOf(HasSubstr("cannot create"), HasSubstr("choose a job.dump_folder"))));
}

TEST(Checkpointer, UnwritableFolderFailsEachSaveAndNothingElse) {
  TemporaryDirectory folder;
  const fs::path in_the_way = folder.path() / ".lock";
  fs::create_directory(in_the_way);
  Checkpointer checkpointer({.folder = folder.path()}, quick_files());  // a warning
  EXPECT_THAT(checkpointer.save(make_snapshot(1, 1)).error, HasSubstr("cannot create"));
  fs::remove(in_the_way);
  EXPECT_TRUE(checkpointer.save(make_snapshot(2, 2)).ok()) << "it tries again";
}

TEST(Checkpointer, RefusesKeepingOne) {
  TemporaryDirectory folder;
  EXPECT_THROW(Checkpointer({.folder = folder.path(), .keep_latest_k = 1}, quick_files()),
               InputError);
  EXPECT_THROW(Checkpointer({.folder = folder.path(), .keep_latest_k = -1}, quick_files()),
               InputError);
}

TEST(Checkpointer, MissingStepNamesThoseThatAreThere) {
  TemporaryDirectory folder;
  Checkpointer checkpointer({.folder = folder.path()}, quick_files());
  ASSERT_TRUE(checkpointer.save(make_snapshot(10, 1)).ok());
  ASSERT_TRUE(checkpointer.save(make_snapshot(20, 1)).ok());
  try {
    checkpointer.load_step(15, [](const CheckpointReader&) {});
    FAIL();
  } catch (const InputError& error) {
    EXPECT_THAT(error.what(), HasSubstr("step 15"));
    EXPECT_THAT(error.what(), HasSubstr("10, 20"));
  }
}

TEST(Checkpointer, ModelOnlyInAnExportDtype) {
  TemporaryDirectory folder;
  Checkpointer checkpointer({.folder = folder.path()}, quick_files());
  Snapshot snapshot = make_snapshot(4, 3);
  snapshot.optimizer.clear();
  snapshot.model_only = true;
  snapshot.export_dtype = Dtype::kBfloat16;
  ASSERT_TRUE(checkpointer.save(snapshot).ok());
  CheckpointReader reader(folder.path() / "step-4");
  EXPECT_TRUE(reader.manifest().model_only);
  EXPECT_TRUE(reader.optimizer().tensors().empty());
  TestModel expected = make_model(3);
  for (auto& [name, info] : expected.infos) {
    if (info.dtype != Dtype::kFloat32) continue;
    Bytes narrow(expected.values[name].size() / 2);
    convert(Dtype::kFloat32, expected.values[name], Dtype::kBfloat16, narrow);
    info.dtype = Dtype::kBfloat16;
    expected.values[name] = narrow;
  }
  expect_equal(reader.model(), expected);
}

TEST(Checkpointer, LoadErrorsThatAreNotDamageAreNotSkipped) {
  TemporaryDirectory folder;
  Checkpointer checkpointer({.folder = folder.path()}, quick_files());
  ASSERT_TRUE(checkpointer.save(make_snapshot(1, 1)).ok());
  ASSERT_TRUE(checkpointer.save(make_snapshot(2, 2)).ok());
  auto other_model = [](const CheckpointReader& reader) {
    require_tensors({{"other", {Dtype::kFloat32, {1}}}}, reader.model().tensors(), true,
                    "checkpoint");
  };
  EXPECT_THROW(checkpointer.load_latest(other_model), InputError);
}

}  // namespace
}  // namespace titan
