// Pre-tokenised files: the three formats, their inconsistencies, ids that do not fit.
#include <gmock/gmock.h>

#include "tests/unit/data/data_test_helpers.hpp"

namespace titan::data {
namespace {

using testing::HasSubstr;

template <class T>
std::string bytes_of(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

template <class Element>
std::string elements(const Ids& ids) {
  return bytes_of(std::vector<Element>(ids.begin(), ids.end()));
}

std::string llm_c(int32_t magic, int32_t version, int32_t count, const std::string& tokens) {
  std::vector<int32_t> header(256, 0);
  header[0] = magic;
  header[1] = version;
  header[2] = count;
  return bytes_of(header) + tokens;
}

std::string megatron_index(uint8_t type, const std::vector<int32_t>& lengths,
                           const std::vector<int64_t>& offsets) {
  std::vector<int64_t> documents;
  for (size_t i = 0; i <= lengths.size(); ++i) documents.push_back(static_cast<int64_t>(i));
  std::string index("MMIDIDX\0\0", 9);
  index += bytes_of<uint64_t>({1}) + static_cast<char>(type) +
           bytes_of<uint64_t>({lengths.size(), documents.size()});
  return index + bytes_of(lengths) + bytes_of(offsets) + bytes_of(documents);
}

Ids random_ids(int count, int32_t below) {
  std::mt19937 random(7);
  Ids ids(static_cast<size_t>(count));
  for (int32_t& id : ids) id = static_cast<int32_t>(random() % static_cast<uint32_t>(below));
  return ids;
}

DataConfig token_config(const ScratchFolder& folder, const std::string& path) {
  DataConfig config = config_for(folder, path);
  config.vocab_size = 100'000;
  return config;
}

void expect_stream(const DataConfig& config, const Ids& ids) {
  auto loader = DataLoader::open(config, nullptr);
  EXPECT_EQ(take(*loader, config.seq_len, 20), naive_sequences(ids, config.seq_len, 40));
}

std::string refusal(const DataConfig& config) {
  return input_error([&] { DataLoader::open(config, nullptr); });
}

TEST(TokenFiles, LlmC) {
  ScratchFolder folder;
  Ids small = random_ids(100, 50'000), large = random_ids(77, 100'000);
  expect_stream(token_config(folder, folder.write("a.bin", llm_c(20240520, 1, 100,
                                                                 elements<uint16_t>(small)))),
                small);
  expect_stream(token_config(folder, folder.write("b.bin", llm_c(20240801, 7, 77,
                                                                 elements<uint32_t>(large)))),
                large);
}

TEST(TokenFiles, HeaderlessByTokenDtype) {
  ScratchFolder folder;
  Ids small = random_ids(100, 60'000), large = random_ids(77, 100'000);
  DataConfig config = token_config(folder, folder.write("a.bin", elements<uint16_t>(small)));
  expect_stream(config, small);
  config = token_config(folder, folder.write("b.bin", elements<uint32_t>(large)));
  config.token_dtype = TokenDtype::uint32;
  expect_stream(config, large);
}

TEST(TokenFiles, SeveralFilesAreOneStream) {
  ScratchFolder folder;
  Ids first = random_ids(50, 50'000), second = random_ids(33, 40'000), all = first;
  all.insert(all.end(), second.begin(), second.end());
  folder.write("in/train_2.bin", elements<uint16_t>(second));
  folder.write("in/train_1.bin", elements<uint16_t>(first));
  folder.write("in/val.bin", elements<uint16_t>(Ids{1, 2, 3}));
  expect_stream(token_config(folder, folder / "in/train_*.bin"), all);
}

TEST(TokenFiles, Megatron) {
  ScratchFolder folder;
  Ids ids = random_ids(60, 60'000);
  folder.write("a.idx", megatron_index(8, {10, 0, 30, 20}, {0, 20, 20, 80}));
  expect_stream(token_config(folder, folder.write("a.bin", elements<uint16_t>(ids))), ids);
  folder.write("b.idx", megatron_index(4, {60}, {0}));
  expect_stream(token_config(folder, folder.write("b.bin", elements<int32_t>(ids))), ids);

  // Sequences that do not follow each other in the file: the index gives the order.
  Ids swapped(ids.begin() + 20, ids.end());
  swapped.insert(swapped.end(), ids.begin(), ids.begin() + 20);
  folder.write("c.idx", megatron_index(8, {40, 20}, {40, 0}));
  expect_stream(token_config(folder, folder.write("c.bin", elements<uint16_t>(ids))), swapped);
}

TEST(TokenFiles, RefusesInconsistentHeaders) {
  ScratchFolder folder;
  std::string tokens = elements<uint16_t>(random_ids(100, 50'000));
  auto refuses = [&](const std::string& content, const std::string& what) {
    std::string path = folder.write("bad.bin", content);
    std::string message = refusal(token_config(folder, path));
    EXPECT_THAT(message, HasSubstr(path));
    EXPECT_THAT(message, HasSubstr(what));
  };
  refuses(llm_c(20240520, 1, 101, tokens), "the header says 101 tokens");
  refuses(llm_c(20240520, 1, -1, tokens), "the header says -1 tokens");
  refuses(llm_c(20240520, 2, 100, tokens), "version 2; expected version 1");
  refuses(llm_c(20240520, 1, 0, "").substr(0, 500), "cut short");
  refuses(tokens.substr(0, 99), "no whole number of 2-byte ids");
  refuses("", "is empty");
}

TEST(TokenFiles, RefusesInconsistentIndexes) {
  ScratchFolder folder;
  std::string path = folder.write("a.bin", elements<uint16_t>(random_ids(60, 50'000)));
  auto refuses = [&](const std::string& index, const std::string& what) {
    std::string index_path = folder.write("a.idx", index);
    std::string message = refusal(token_config(folder, path));
    EXPECT_THAT(message, HasSubstr(index_path));
    EXPECT_THAT(message, HasSubstr(what));
  };
  std::string good = megatron_index(8, {40, 20}, {0, 80});
  refuses("", "not a Megatron index");
  refuses("x" + good.substr(1), "not a Megatron index");
  refuses(good.substr(0, good.size() - 1), "cut short or corrupt");
  refuses(good + "x", "cut short or corrupt");
  refuses(good.substr(0, 9) + '\2' + good.substr(10), "index version 2");
  refuses(megatron_index(5, {40, 20}, {0, 80}), "element type 5");
  refuses(megatron_index(8, {40, 21}, {0, 80}), "sequence 1 has 21 tokens at byte 80");
  refuses(megatron_index(8, {-1, 20}, {0, 80}), "sequence 0 has -1 tokens");
  refuses(megatron_index(8, {40, 20}, {0, INT64_MAX}), "sequence 1");
  refuses(megatron_index(8, {40, 20}, {-2, 80}), "sequence 0");
}

TEST(TokenFiles, RefusesIdsOutsideTheVocabulary) {
  ScratchFolder folder;
  Ids ids(200'000, 5);
  ids[150'001] = 32'000;
  DataConfig config = token_config(folder, folder.write("a.bin", elements<uint16_t>(ids)));
  config.vocab_size = 32'000;
  config.prefetch_batches = 3;
  auto loader = DataLoader::open(config, nullptr);  // too far into the file to be seen at once
  std::string message = input_error([&] { take(*loader, 8, 1 << 20); });
  EXPECT_THAT(message, HasSubstr("a.bin holds the id 32000 at byte 300002"));
  EXPECT_THAT(message, HasSubstr("vocabulary has 32000 ids"));
  EXPECT_THAT(message, HasSubstr("training.token_dtype"));
  EXPECT_EQ(input_error([&] { take(*loader, 8, 1); }), message);  // and again

  ids[8] = 65'535;
  folder.write("a.bin", elements<uint16_t>(ids));
  EXPECT_THAT(refusal(config), HasSubstr("id 65535 at byte 16"));  // before the first step
  folder.write("a.bin", elements<int32_t>(Ids(100, -7)));
  config.token_dtype = TokenDtype::uint32;
  EXPECT_THAT(refusal(config), HasSubstr("id 4294967289"));
}

TEST(TokenFiles, RefusesMixedTokenFormats) {
  ScratchFolder folder;
  std::string tokens = elements<uint16_t>(random_ids(100, 50'000));
  folder.write("in/a.bin", llm_c(20240520, 1, 100, tokens));
  folder.write("in/b.bin", tokens);
  EXPECT_THAT(refusal(token_config(folder, folder / "in")), HasSubstr("mixes formats"));
}

TEST(TokenFiles, AFileThatShrinksIsNamed) {
  ScratchFolder folder;
  Ids ids(100'000, 5);
  std::string path = folder.write("a.bin", elements<uint16_t>(ids));
  auto loader = DataLoader::open(token_config(folder, path), nullptr);
  take(*loader, 8, 1);
  std::filesystem::resize_file(path, 1000);
  try {
    take(*loader, 8, 10'000);
    FAIL() << "nothing thrown";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr(path + " has become shorter"));
  }
}

}  // namespace
}  // namespace titan::data
