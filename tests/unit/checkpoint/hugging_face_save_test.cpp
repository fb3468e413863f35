// The last save as a Hugging Face model, by one rank and by many.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/checkpoint/sharded_models.hpp"
#include "tests/unit/checkpoint/small_llama.hpp"
#include "tests/unit/checkpoint/thread_ranks.hpp"

namespace titan {
namespace {

using namespace test;  // NOLINT: the helpers of these tests
using ::testing::HasSubstr;
namespace fs = std::filesystem;

// A run's last save.
Snapshot last_save(std::vector<TensorSlice> slices, bool in_hugging_face = true) {
  Snapshot snapshot;
  snapshot.step = 20;
  snapshot.model = std::move(slices);
  snapshot.model_only = true;
  snapshot.in_hugging_face = in_hugging_face;
  snapshot.model_description = small_model().to_json();
  return snapshot;
}

TEST(HuggingFaceSave, FinalSaveIsAModelNotACheckpoint) {
  TemporaryDirectory folder;
  TestModel model = make_llama(small_model(), 8);
  Checkpointer checkpointer({.folder = folder.path()}, quick_files());
  SaveOutcome outcome = checkpointer.save(last_save(model.slices()));
  ASSERT_TRUE(outcome.ok()) << outcome.error;
  HuggingFaceReader reader(folder.path() / "step-20");
  expect_equal(reader, model);
  try {
    checkpointer.load_latest([](const CheckpointReader&) {});
    ADD_FAILURE();
  } catch (const InputError& error) {
    EXPECT_THAT(error.what(), HasSubstr("initial_load_in_hf"));
  }
}

TEST(HuggingFaceSave, RerunKeepsTheModelBesideItsCheckpoint) {
  TemporaryDirectory folder;
  const TestModel first = make_llama(small_model(), 8), second = make_llama(small_model(), 9);
  Checkpointer checkpointer({.folder = folder.path()}, quick_files());
  const auto save = [&](const TestModel& model, bool in_hugging_face) {
    EXPECT_EQ(checkpointer.save(last_save(model.slices(), in_hugging_face)).error, "");
  };
  save(first, true);
  save(second, false);
  expect_equal(HuggingFaceReader(folder.path() / "step-20-hugging-face"), first);
  EXPECT_EQ(checkpointer.load_latest(
                [&](const CheckpointReader& reader) { expect_equal(reader.model(), second); }),
            20);
  save(second, true);  // in place of a checkpoint: both are of this run
  save(first, false);
  expect_equal(HuggingFaceReader(folder.path() / "step-20-hugging-face"), first);
  expect_equal(HuggingFaceReader(folder.path() / "step-20-hugging-face-2"), second);
  EXPECT_TRUE(interim_names(folder.path()).empty());
}

std::map<std::string, std::string> files_of(const fs::path& directory) {
  std::map<std::string, std::string> files;
  for (const auto& entry : fs::directory_iterator(directory)) {
    files[entry.path().filename()] = entry.is_directory() ? "folder" : file_text(entry.path());
  }
  return files;
}

TEST(HuggingFaceSave, PartsMakeTheSameFilesAsOne) {
  TemporaryDirectory temporary;
  TestModel model = make_llama(small_model(), 9);
  export_model(model, temporary.path() / "one", {.max_shard_bytes = 9000});
  for (size_t part : {2, 0, 1}) {
    export_model(model, temporary.path() / "parts",
                 {.max_shard_bytes = 9000, .part = part, .parts = 3});
  }
  EXPECT_GT(files_of(temporary.path() / "one").size(), 6u);
  EXPECT_EQ(files_of(temporary.path() / "parts"), files_of(temporary.path() / "one"));
}

// No rank holds a whole matrix; the directory is as one process writes it.
TEST(HuggingFaceSave, FinalSaveOfManyRanks) {
  TemporaryDirectory temporary;
  fs::path tokenizer = temporary.path() / "tokenizer";
  fs::create_directory(tokenizer);
  write_text(tokenizer / "tokenizer.json", "{}");
  const TestModel model = make_llama(small_model(), 10);
  for (const Layout& layout : {grid(1, 1), grid(3, 1), grid(2, 2), stacked(4)}) {
    ThreadRanks ranks(layout.ranks);
    ranks.run([&](int64_t rank) {
      Checkpointer checkpointer({.folder = temporary.path() / layout.name}, quick_files(),
                                ranks.group(rank));
      std::vector<Bytes> owner;
      Snapshot snapshot = last_save(slices_of(model, layout, rank, owner));
      snapshot.export_dtype = Dtype::kBfloat16;
      snapshot.tokenizer_folder = tokenizer;
      SaveOutcome outcome = checkpointer.save(snapshot);
      EXPECT_TRUE(outcome.ok()) << layout.name << ": " << outcome.error;
    });
    EXPECT_EQ(files_of(temporary.path() / layout.name / "step-20"),
              files_of(temporary.path() / grid(1, 1).name / "step-20"))
        << layout.name;
  }
}

TEST(HuggingFaceSave, FinalSaveThatFailsOnOneRankLeavesNothing) {
  TemporaryDirectory folder;
  const Layout layout = grid(2, 1);
  const TestModel model = make_llama(small_model(), 10);
  ThreadRanks ranks(2);
  ranks.run([&](int64_t rank) {
    Checkpointer checkpointer({.folder = folder.path()}, quick_files(), ranks.group(rank));
    std::vector<Bytes> owner;
    Snapshot snapshot = last_save(slices_of(model, layout, rank, owner));
    if (rank == 1) snapshot.model.pop_back();
    EXPECT_THAT(checkpointer.save(snapshot).error, HasSubstr("do not fill its shape"));
  });
  EXPECT_TRUE(interim_names(folder.path()).empty());
  EXPECT_FALSE(fs::exists(folder.path() / "step-20"));
}

}  // namespace
}  // namespace titan
