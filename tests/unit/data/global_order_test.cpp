// The one order of packed sequences: packing, ranks and accumulation, epochs, resume.
#include <gmock/gmock.h>

#include "tests/unit/data/data_test_helpers.hpp"

namespace titan::data {
namespace {

using testing::HasSubstr;

TEST(GlobalOrder, PacksDocumentsAsTheNaivePackerDoes) {
  std::mt19937 random(1);
  for (int round = 0; round < 20; ++round) {
    ScratchFolder folder;
    auto documents = random_documents(random, 1 + static_cast<int>(random() % 40), 30);
    DataConfig config = config_for(folder, folder.write("a.jsonl", json_lines(documents)));
    config.seq_len = 1 + static_cast<int64_t>(random() % 12);
    config.prefetch_batches = static_cast<int64_t>(random() % 4);
    Ids tokens = tokens_of(documents);
    if (static_cast<int64_t>(tokens.size()) <= config.seq_len) continue;
    auto loader = DataLoader::open(config, byte_tokenizer());
    EXPECT_EQ(take(*loader, config.seq_len, 100), naive_sequences(tokens, config.seq_len, 200));
  }
}

TEST(GlobalOrder, SequencesRunOverFilesInOrderOfTheirNames) {
  ScratchFolder folder;
  folder.write("in/b.jsonl", json_lines({"second file"}));
  folder.write("in/a.jsonl", json_lines({"first", "", "file"}));
  auto loader = DataLoader::open(config_for(folder, folder / "in"), byte_tokenizer());
  Ids tokens = tokens_of({"first", "", "file", "second file"});
  EXPECT_EQ(take(*loader, 8, 5), naive_sequences(tokens, 8, 10));
}

// What the ranks get in `steps` optimizer steps: [step][rank] rows.
std::vector<std::vector<std::vector<Ids>>> steps_of_ranks(DataConfig config, int64_t ranks,
                                                          int64_t global_batch, int64_t steps,
                                                          const nlohmann::json* state = nullptr) {
  std::vector<std::vector<std::vector<Ids>>> result(static_cast<size_t>(steps));
  config.world_size = ranks;
  for (config.rank = 0; config.rank < ranks; ++config.rank) {
    auto loader = DataLoader::open(config, byte_tokenizer(), global_batch);
    if (state) loader->restore(*state);
    for (auto& step : result) {
      step.push_back(
          take(*loader, config.seq_len, global_batch / (ranks * config.local_batch_size)));
    }
  }
  return result;
}

std::vector<Ids> joined(const std::vector<std::vector<Ids>>& ranks) {
  std::vector<Ids> all;
  for (const auto& rank : ranks) all.insert(all.end(), rank.begin(), rank.end());
  return all;
}

TEST(GlobalOrder, StepsAreTheSameForAnyNumberOfRanksAndMicroBatches) {
  std::mt19937 random(2);
  ScratchFolder folder;
  auto documents = random_documents(random, 60, 20);
  DataConfig config = config_for(folder, folder.write("a.jsonl", json_lines(documents)));
  constexpr int64_t kGlobal = 8, kSteps = 30;  // several epochs
  auto expected = naive_sequences(tokens_of(documents), config.seq_len, kGlobal * kSteps);
  for (int64_t ranks : {1, 2, 4}) {
    for (int64_t local : {1, 2}) {
      config.local_batch_size = local;
      auto steps = steps_of_ranks(config, ranks, kGlobal, kSteps);
      for (size_t step = 0; step < steps.size(); ++step) {
        std::vector<Ids> of_step(expected.begin() + static_cast<int64_t>(step) * kGlobal,
                                 expected.begin() + static_cast<int64_t>(step + 1) * kGlobal);
        EXPECT_EQ(joined(steps[step]), of_step) << ranks << " ranks, step " << step;
      }
    }
  }
}

TEST(GlobalOrder, ResumesAtEveryStepOnAnyNumberOfRanks) {
  std::mt19937 random(3);
  ScratchFolder folder;
  auto documents = random_documents(random, 25, 20);
  DataConfig config = config_for(folder, folder.write("a.jsonl", json_lines(documents)));
  config.local_batch_size = 1;
  constexpr int64_t kGlobal = 4, kSteps = 24, kAfter = 2;
  auto expected =
      naive_sequences(tokens_of(documents), config.seq_len, kGlobal * (kSteps + kAfter));

  auto straight = DataLoader::open(config, byte_tokenizer(), kGlobal);
  int64_t last_epoch = 0;
  for (int64_t step = 0; step <= kSteps; ++step) {
    nlohmann::json state = straight->state();
    last_epoch = state.at("epoch");
    for (int64_t ranks : {1, 2, 4}) {
      auto resumed = steps_of_ranks(config, ranks, kGlobal, kAfter, &state);
      std::vector<Ids> rows = joined(resumed[0]), second = joined(resumed[1]);
      rows.insert(rows.end(), second.begin(), second.end());
      std::vector<Ids> rest(expected.begin() + step * kGlobal,
                            expected.begin() + (step + kAfter) * kGlobal);
      EXPECT_EQ(rows, rest) << ranks << " ranks after step " << step;
    }
    take(*straight, config.seq_len, kGlobal);
  }
  EXPECT_GE(last_epoch, 2);
}

TEST(GlobalOrder, StateIsOfTheBatchesHandedOutAndOfWholeSteps) {
  ScratchFolder folder;
  DataConfig config = config_for(
      folder, folder.write("a.txt", "some text that is long enough for a few sequences of nine"));
  config.local_batch_size = 1;
  config.prefetch_batches = 7;
  auto loader = DataLoader::open(config, byte_tokenizer(), 2);
  EXPECT_EQ(loader->state().at("token"), 0);
  take(*loader, 8, 1);
  EXPECT_EQ(loader->state().at("token"), 0);  // half of a step
  take(*loader, 8, 1);
  EXPECT_EQ(loader->state().at("token"), 18);
}

TEST(GlobalOrder, ResumesWithAnotherSequenceLengthAtTheSameToken) {
  ScratchFolder folder;
  DataConfig config =
      config_for(folder, folder.write("a.txt", std::string(100, 'x') + "0123456789"));
  auto loader = DataLoader::open(config, byte_tokenizer());
  take(*loader, 8, 2);
  nlohmann::json state = loader->state();
  ASSERT_EQ(state.at("token"), 36);
  config.seq_len = 74;  // the next 75 tokens: 65 of the x, then the digits
  auto longer = DataLoader::open(config, byte_tokenizer());
  longer->restore(state);
  Batch batch;
  ASSERT_TRUE(longer->next(batch));
  EXPECT_EQ(batch.inputs[64], 'x');
  EXPECT_EQ(batch.inputs[65], '0');
}

TEST(GlobalOrder, FiniteDataGivesEverySequenceOnceAndAllRanksEndTogether) {
  std::mt19937 random(4);
  for (int round = 0; round < 10; ++round) {
    ScratchFolder folder;
    auto documents = random_documents(random, 5 + static_cast<int>(random() % 30), 20);
    DataConfig config = config_for(folder, folder.write("a.jsonl", json_lines(documents)));
    config.endless = false;
    Ids tokens = tokens_of(documents);
    size_t sequences = tokens.size() / 9;
    if (sequences == 0) continue;
    for (int64_t ranks : {1, 2, 4}) {
      config.world_size = ranks;
      std::vector<Ids> all;
      auto batches = static_cast<int64_t>((sequences + 2 * ranks - 1) / (2 * ranks));
      int64_t valid = 0;
      for (config.rank = 0; config.rank < ranks; ++config.rank) {
        auto loader = DataLoader::open(config, byte_tokenizer());
        Batch batch;
        int64_t count = 0;
        for (; loader->next(batch); ++count) {
          append_rows(batch, 8, all);
          valid += batch.valid_tokens;
        }
        EXPECT_EQ(count, batches);
        EXPECT_FALSE(loader->next(batch));
        // The end can be saved; from there nothing more comes. The start can be gone back to.
        nlohmann::json end = loader->state();
        EXPECT_EQ(end.at("token"), static_cast<int64_t>(sequences) * 9);
        loader->restore(end);
        EXPECT_FALSE(loader->next(batch));
      }
      auto expected = naive_sequences(tokens, 8, sequences);
      EXPECT_EQ(valid, static_cast<int64_t>(sequences) * 8);
      std::sort(all.begin(), all.end());
      std::sort(expected.begin(), expected.end());
      EXPECT_EQ(all, expected);
    }
  }
}

TEST(GlobalOrder, FiniteDataStartsAgainFromItsFirstState) {
  ScratchFolder folder;
  DataConfig config = config_for(folder, folder.write("a.txt", std::string(60, 'x') + "tail"));
  config.endless = false;
  auto loader = DataLoader::open(config, byte_tokenizer());
  nlohmann::json start = loader->state();
  auto first = take(*loader, 8, 100);
  EXPECT_EQ(first.size(), 7u);
  loader->restore(start);
  EXPECT_EQ(take(*loader, 8, 100), first);
}

TEST(GlobalOrder, LogsEachNewEpochOnce) {
  ScratchFolder folder;
  DataConfig config =
      config_for(folder, folder.write("a.txt", std::string(25, 'x')));  // 3 sequences
  auto loader = DataLoader::open(config, byte_tokenizer());
  testing::internal::CaptureStdout();
  take(*loader, 8, 3);  // 6 sequences: two epochs
  std::string log = testing::internal::GetCapturedStdout();
  EXPECT_THAT(log, HasSubstr("Dataset c4 is read again: epoch 1 begins"));
  EXPECT_THAT(log, HasSubstr("Dataset c4 is read again: epoch 2 begins"));
  EXPECT_EQ(log.find("epoch 1"), log.rfind("epoch 1"));
}

TEST(GlobalOrder, RefusesDataShorterThanASequence) {
  ScratchFolder folder;
  DataConfig config = config_for(folder, folder.write("a.txt", "123456"));
  std::string message = input_error([&] { DataLoader::open(config, byte_tokenizer()); });
  EXPECT_THAT(message, HasSubstr("a.txt"));
  EXPECT_THAT(message, HasSubstr("holds 8 tokens"));
  EXPECT_THAT(message, HasSubstr("training.seq_len + 1 = 9"));
  folder.write("a.txt", "1234567");
  EXPECT_EQ(take(*DataLoader::open(config, byte_tokenizer()), 8, 2).size(), 4u);
}

}  // namespace
}  // namespace titan::data
