// training.data_order = "per_rank": who reads what, packing per rank, resume.
#include <gmock/gmock.h>

#include "lib/data/per_rank_stream.hpp"
#include "tests/unit/data/data_test_helpers.hpp"

namespace titan::data {
namespace {

using testing::HasSubstr;

DataConfig per_rank_config(const ScratchFolder& folder, const std::string& path, int64_t rank,
                           int64_t ranks) {
  DataConfig config = config_for(folder, path);
  config.data_order = DataOrder::per_rank;
  config.rank = rank;
  config.world_size = ranks;
  return config;
}

// Files of known documents: folder/in/<i>.jsonl.
std::vector<std::vector<std::string>> write_files(const ScratchFolder& folder, std::mt19937& random,
                                                  int files, int documents) {
  std::vector<std::vector<std::string>> written;
  for (int i = 0; i < files; ++i) {
    written.push_back(random_documents(random, documents + i, 30));
    folder.write(concat("in/", i, ".jsonl"), json_lines(written.back()));
  }
  return written;
}

std::vector<std::string> joined(const std::vector<std::vector<std::string>>& files) {
  std::vector<std::string> all;
  for (const auto& file : files) all.insert(all.end(), file.begin(), file.end());
  return all;
}

void expect_packs(const DataConfig& config, const std::vector<std::string>& documents) {
  auto loader = DataLoader::open(config, byte_tokenizer());
  EXPECT_EQ(take(*loader, 8, 60), naive_sequences(tokens_of(documents), 8, 120))
      << loader->describe();
}

TEST(PerRank, OneRankPacksAsTheGlobalOrderDoes) {
  std::mt19937 random(10);
  ScratchFolder folder;
  auto files = write_files(folder, random, 3, 10);
  expect_packs(per_rank_config(folder, folder / "in", 0, 1), joined(files));
  EXPECT_FALSE(std::filesystem::exists(folder / "cache"));
}

TEST(PerRank, WholeFilesPerRankWhenTheyDivide) {
  std::mt19937 random(11);
  ScratchFolder folder;
  auto files = write_files(folder, random, 6, 10);
  for (size_t rank = 0; rank < 3; ++rank) {
    expect_packs(per_rank_config(folder, folder / "in", static_cast<int64_t>(rank), 3),
                 joined({files[rank], files[rank + 3]}));
  }
}

TEST(PerRank, EveryNthDocumentWhenTheyDoNot) {
  std::mt19937 random(12);
  ScratchFolder folder;
  auto all = joined(write_files(folder, random, 3, 10));
  for (size_t rank = 0; rank < 2; ++rank) {
    std::vector<std::string> own;
    for (size_t i = rank; i < all.size(); i += 2) own.push_back(all[i]);
    expect_packs(per_rank_config(folder, folder / "in", static_cast<int64_t>(rank), 2), own);
  }
}

TEST(PerRank, ContiguousBlocksForC4Test) {
  std::mt19937 random(13);
  ScratchFolder folder;
  auto all = joined(write_files(folder, random, 3, 10));  // 33 documents: 9, 8, 8, 8
  ASSERT_EQ(all.size(), 33u);
  size_t begin = 0;
  for (int64_t rank = 0; rank < 4; ++rank) {
    size_t count = rank == 0 ? 9 : 8;
    DataConfig config = per_rank_config(folder, folder / "in", rank, 4);
    config.dataset = "c4_test";
    expect_packs(config, {all.begin() + static_cast<int64_t>(begin),
                          all.begin() + static_cast<int64_t>(begin + count)});
    begin += count;
  }
}

TEST(PerRank, ResumesAtEveryStep) {
  std::mt19937 random(14);
  constexpr int64_t kSteps = 40, kAfter = 3;
  for (auto [dataset, files, ranks] : std::vector<std::tuple<std::string, int, int64_t>>{
           {"c4", 3, 2}, {"c4", 4, 2}, {"c4_test", 3, 2}, {"c4", 2, 1}}) {
    ScratchFolder folder;
    write_files(folder, random, files, 6);
    folder.write("in/9.jsonl", "\n" + json_lines({"after a blank line"}) + "\nnot json\n\n" +
                                   json_lines({"and a bad one"}) + "\n");
    DataConfig config = per_rank_config(folder, folder / "in", ranks - 1, ranks);
    config.dataset = dataset;
    auto global_batch = config.local_batch_size * ranks * 2;  // two micro-batches a step
    auto all =
        take(*DataLoader::open(config, byte_tokenizer(), global_batch), 8, 2 * (kSteps + kAfter));
    auto straight = DataLoader::open(config, byte_tokenizer(), global_batch);
    for (int64_t step = 0; step <= kSteps; ++step) {
      nlohmann::json state = nlohmann::json::parse(straight->state().dump());
      auto resumed = DataLoader::open(config, byte_tokenizer(), global_batch);
      resumed->restore(state);
      EXPECT_EQ(resumed->state(), straight->state());
      std::vector<Ids> expected(all.begin() + step * 4, all.begin() + (step + kAfter) * 4);
      EXPECT_EQ(take(*resumed, 8, 2 * kAfter), expected) << resumed->describe() << " " << state;
      take(*straight, 8, 2);
    }
    std::string rank_key = concat("dp_rank_", ranks - 1);
    EXPECT_GE(straight->state().at(rank_key).at("epoch").get<int64_t>(), 1);
  }
}

TEST(PerRank, StatesOfAllRanksFitInOneObject) {
  std::mt19937 random(15);
  ScratchFolder folder;
  write_files(folder, random, 2, 20);
  nlohmann::json job = nlohmann::json::object();
  std::vector<std::vector<Ids>> expected;
  for (int64_t rank = 0; rank < 2; ++rank) {
    auto loader =
        DataLoader::open(per_rank_config(folder, folder / "in", rank, 2), byte_tokenizer());
    take(*loader, 8, 3 + rank);
    job.update(loader->state());
    expected.push_back(take(*loader, 8, 3));
  }
  for (int64_t rank = 0; rank < 2; ++rank) {
    auto loader =
        DataLoader::open(per_rank_config(folder, folder / "in", rank, 2), byte_tokenizer());
    loader->restore(job);
    EXPECT_EQ(take(*loader, 8, 3), expected[static_cast<size_t>(rank)]);
  }
  auto other = DataLoader::open(per_rank_config(folder, folder / "in", 0, 3), byte_tokenizer());
  std::string message = input_error([&] { other->restore(job); });
  EXPECT_THAT(message, HasSubstr("written with 2 ranks, this run has 3"));
}

TEST(PerRank, RefusesWhatItCannotDo) {
  ScratchFolder folder;
  DataConfig config = per_rank_config(folder, folder.write("a.bin", std::string(100, '\0')), 0, 1);
  EXPECT_THAT(input_error([&] { DataLoader::open(config, nullptr); }),
              HasSubstr("\"per_rank\" is for text"));
  config.dataset_path = folder.write("a.jsonl", json_lines({"text"}));
  config.endless = false;
  EXPECT_THAT(input_error([&] { DataLoader::open(config, byte_tokenizer()); }),
              HasSubstr("needs training.data_order = \"global\""));
}

TEST(PerRank, ARankWithoutDocumentsSaysSo) {
  ScratchFolder folder;
  DataConfig config =
      per_rank_config(folder, folder.write("a.jsonl", json_lines({"only one"})), 1, 2);
  auto loader = DataLoader::open(config, byte_tokenizer());
  EXPECT_THAT(input_error([&] { take(*loader, 8, 1); }), HasSubstr("holds no document"));

  folder.write("bad/1.jsonl", json_lines({"good"}));
  folder.write("bad/2.jsonl", "bad\nworse\n");
  loader = DataLoader::open(per_rank_config(folder, folder / "bad", 1, 2), byte_tokenizer());
  EXPECT_THAT(input_error([&] { take(*loader, 8, 1); }), HasSubstr("bad/2.jsonl:1: not JSON"));
}

}  // namespace
}  // namespace titan::data
