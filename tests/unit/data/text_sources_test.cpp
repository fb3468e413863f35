// Text formats through the whole loader: what is read, what is skipped, what is refused.
#include <gmock/gmock.h>

#include <fstream>

#include "tests/unit/data/data_test_helpers.hpp"

namespace titan::data {
namespace {

using testing::HasSubstr;
using testing::Not;

const std::vector<std::string> kDocuments = {"one document", "", "another \"one\"\n of two lines",
                                             "caf\u00e9 \u4e16\u754c", "and the last"};

// All the loader's sequences, joined.
Ids tokens_in(const ScratchFolder& folder, const std::string& path, int64_t seq_len = 1) {
  DataConfig config = config_for(folder, path);
  config.seq_len = seq_len;
  config.local_batch_size = 1;
  config.endless = false;
  auto loader = DataLoader::open(config, byte_tokenizer());
  Ids tokens;
  for (const Ids& row : take(*loader, seq_len, INT64_MAX)) {
    tokens.insert(tokens.end(), row.begin(), row.end());
  }
  return tokens;
}

// Without what is left over after the last whole sequence.
Ids whole(Ids tokens, int64_t seq_len = 1) {
  auto length = static_cast<size_t>(seq_len + 1);
  tokens.resize(tokens.size() / length * length);
  return tokens;
}

std::string refusal(const ScratchFolder& folder, const std::string& path) {
  return input_error([&] { DataLoader::open(config_for(folder, path), byte_tokenizer()); });
}

TEST(TextSources, EveryFormatGivesTheSameDocuments) {
  ScratchFolder folder;
  std::string lines = json_lines(kDocuments);
  std::string half = json_lines({kDocuments[0], kDocuments[1]});
  std::string rest = lines.substr(half.size());
  for (auto [name, content] : std::vector<std::pair<std::string, std::string>>{
           {"a.jsonl", lines},
           {"a.json", lines},
           {"no_line_end.jsonl", lines.substr(0, lines.size() - 1)},
           {"mark.jsonl", "\xEF\xBB\xBF" + lines},
           {"blank_lines.jsonl", "\n  \n" + half + "\r\n\t\n" + rest + "\n\n"},
           {"b.jsonl.gz", gzip(lines)},
           {"c.json.gz", gzip(half) + gzip("") + gzip(rest)},
           {"d.jsonl.zst", zstd(lines)},
           {"e.json.zst", zstd(half) + zstd("") + zstd(rest)}}) {
    EXPECT_EQ(tokens_in(folder, folder.write(name, content)), whole(tokens_of(kDocuments))) << name;
  }
  std::string text = "plain text,\n\nof one document \u00e9";
  for (auto [name, content] : std::vector<std::pair<std::string, std::string>>{
           {"a.txt", text}, {"a.txt.gz", gzip(text)}, {"a.txt.zst", zstd(text)}}) {
    EXPECT_EQ(tokens_in(folder, folder.write(name, content)), whole(tokens_of({text}))) << name;
  }
}

TEST(TextSources, LinesAndFilesLongerThanAnyBlock) {
  std::mt19937 random(5);
  ScratchFolder folder;
  auto documents = random_documents(random, 100, 20'000);
  documents[7] = std::string(2'000'000, 'x');
  constexpr int64_t kSeqLen = 10'000;
  EXPECT_EQ(tokens_in(folder, folder.write("a.jsonl.zst", zstd(json_lines(documents))), kSeqLen),
            whole(tokens_of(documents), kSeqLen));
  EXPECT_EQ(tokens_in(folder, folder.write("a.txt", documents[7]), kSeqLen),
            whole(tokens_of({documents[7]}), kSeqLen));
}

TEST(TextSources, FolderTakesItsDataFilesByNameAndSkipsTheRest) {
  ScratchFolder folder;
  folder.write("in/2.jsonl", json_lines({"second"}));
  folder.write("in/1.jsonl.gz", gzip(json_lines({"first"})));
  folder.write("in/README.md", "not data");
  folder.write("in/.hidden.jsonl", "not read");
  folder.write("in/deeper/3.jsonl", json_lines({"not read"}));
  testing::internal::CaptureStdout();
  EXPECT_EQ(tokens_in(folder, folder / "in"), whole(tokens_of({"first", "second"})));
  EXPECT_THAT(testing::internal::GetCapturedStdout(), HasSubstr("not data, skipped: README.md"));
  EXPECT_EQ(tokens_in(folder, folder / "in/*/*.jsonl"), whole(tokens_of({"not read"})));
  EXPECT_EQ(tokens_in(folder, folder / "in/{2,1}.jsonl*"), whole(tokens_of({"first", "second"})));
}

TEST(TextSources, MalformedLinesAreNamedCountedAndSkipped) {
  ScratchFolder folder;
  std::string lines = json_line("good") + "{\"text\": \"cut sho\n" + "[1, 2]\n" +
                      "{\"title\": \"no text\"}\n" + "{\"text\": 7}\n" + json_line("fine") +
                      "{\"text\": \"bad \xff utf-8\"}\n" + "{\"text\": \"a\"} tail\n" +
                      "{\"text\": \"lone \\ud800 surrogate\"}\n" + json_line("end");
  std::string path = folder.write("a.jsonl", lines);
  testing::internal::CaptureStdout();
  EXPECT_EQ(tokens_in(folder, path), whole(tokens_of({"good", "fine", "end"})));
  std::string log = testing::internal::GetCapturedStdout();
  EXPECT_THAT(log, HasSubstr(path + ":2: not JSON"));
  EXPECT_THAT(log, HasSubstr(path + ":3: not a JSON object"));
  EXPECT_THAT(log, HasSubstr(path + ":4: no field \"text\""));
  EXPECT_THAT(log, HasSubstr(path + ":5: \"text\" is not a string"));
  EXPECT_THAT(log, HasSubstr(path + ":7: not JSON"));
  EXPECT_THAT(log, Not(HasSubstr(path + ":8")));  // five are enough
  EXPECT_THAT(log, HasSubstr(path + ": 7 of 10 documents malformed and skipped"));
  EXPECT_THAT(DataLoader::open(config_for(folder, path), byte_tokenizer())->describe(),
              HasSubstr("3 documents and 7 malformed ones skipped"));
}

TEST(TextSources, RefusesFilesWithoutAnyDocument) {
  ScratchFolder folder;
  folder.write("in/1.jsonl", json_lines({"a good file"}));
  std::string bad = folder.write("in/2.jsonl", "\n\nnot json\nnor this\n");
  std::string message = refusal(folder, folder / "in");
  EXPECT_THAT(message, HasSubstr(bad + ":3: not JSON"));
  EXPECT_THAT(message, HasSubstr("no other line of the file is a document"));
  EXPECT_FALSE(std::filesystem::exists(folder / "cache/c4.tokens.partial"));

  EXPECT_THAT(refusal(folder, folder.write("blank.jsonl", "\n \n")),
              HasSubstr("holds no document"));
  EXPECT_THAT(refusal(folder, folder.write("empty.jsonl", "")), HasSubstr("empty.jsonl is empty"));
  EXPECT_THAT(refusal(folder, folder.write("nothing.txt.gz", gzip(""))),
              HasSubstr("holds no document"));
  EXPECT_THAT(refusal(folder, folder.write("latin1.txt", "ok\nok\ncaf\xe9\nok")),
              HasSubstr("line 3 is not valid UTF-8"));
}

TEST(TextSources, RefusesBrokenCompression) {
  ScratchFolder folder;
  std::mt19937 random(6);
  std::string lines = json_lines(random_documents(random, 200, 400));
  for (auto [suffix, good] : std::vector<std::pair<std::string, std::string>>{
           {"gz", gzip(lines)}, {"zst", zstd(lines)}}) {
    for (size_t length : {size_t{1}, good.size() / 2, good.size() - 1}) {
      std::string path = folder.write("cut.jsonl." + suffix, good.substr(0, length));
      EXPECT_THAT(refusal(folder, path), HasSubstr(path + " is cut short")) << length;
    }
    std::string altered = good;
    altered[altered.size() / 2] ^= 0x55;
    std::string path = folder.write("altered.jsonl." + suffix, altered);
    EXPECT_THAT(refusal(folder, path), HasSubstr(path + " is corrupt"));
    path = folder.write("other.jsonl." + suffix, lines);
    EXPECT_THAT(refusal(folder, path), HasSubstr(path + " is corrupt"));
    path = folder.write("tail.jsonl." + suffix, good + "trailing garbage");
    EXPECT_THAT(refusal(folder, path), HasSubstr(path + " is corrupt"));
  }
}

TEST(TextSources, RefusesZstdWindowsThatTakeTooMuchMemory) {
  ScratchFolder folder;
  std::string header_of_2_gib_window("\x28\xB5\x2F\xFD\x00\xA8", 6);
  std::string path = folder.write("a.jsonl.zst", header_of_2_gib_window + std::string(20, '\0'));
  EXPECT_THAT(refusal(folder, path), HasSubstr(path + " needs a window above 128 MiB"));
}

TEST(TextSources, NamesWhatIsWrongWithThePath) {
  ScratchFolder folder;
  std::string missing = folder / "missing.jsonl";
  EXPECT_THAT(refusal(folder, missing),
              HasSubstr("training.dataset_path = \"" + missing + "\" does not exist"));
  EXPECT_THAT(refusal(folder, folder / "*.jsonl"), HasSubstr("matches no file"));
  EXPECT_THAT(refusal(folder, folder.write("a.parquet", "x")), HasSubstr("suffix"));
  folder.write("odd/a.csv", "x");
  EXPECT_THAT(refusal(folder, folder / "odd"), HasSubstr("found a.csv"));
  folder.write("mixed/a.jsonl", json_lines({"a"}));
  folder.write("mixed/b.txt", "b");
  std::string mixed = refusal(folder, folder / "mixed");
  EXPECT_THAT(mixed, HasSubstr("mixes formats"));
  EXPECT_THAT(mixed, HasSubstr("b.txt a plain text file"));
}

TEST(TextSources, DatasetsByName) {
  ScratchFolder folder;
  folder.write("corpus/a.jsonl", json_lines({"the shipped corpus, long enough for a sequence"}));
  DataConfig config = config_for(folder, "");
  config.dataset_path.reset();
  config.dataset = "C4_Test";
  config.shipped_corpus = folder / "corpus";
  EXPECT_EQ(take(*DataLoader::open(config, byte_tokenizer()), 8, 1).size(), 2u);

  auto message = [&] { return input_error([&] { DataLoader::open(config, byte_tokenizer()); }); };
  config.shipped_corpus = folder / "nowhere";
  EXPECT_THAT(message(), HasSubstr("nowhere"));
  config.dataset = "c4";
  EXPECT_THAT(message(), HasSubstr("training.dataset = \"c4\" is not shipped"));
  EXPECT_THAT(message(), HasSubstr("set training.dataset_path"));
  config.dataset = "c4_validation";
  config.section = "validation";
  EXPECT_THAT(message(), HasSubstr("set validation.dataset_path"));
  config.dataset = "pile";
  EXPECT_THAT(message(), HasSubstr("expected c4, c4_test or c4_validation"));
}

TEST(TextSources, TokenizerMustFitTheModel) {
  ScratchFolder folder;
  DataConfig config = config_for(folder, folder.write("a.txt", "long enough text"));
  config.vocab_size = 257;
  EXPECT_THAT(input_error([&] { DataLoader::open(config, byte_tokenizer()); }),
              HasSubstr("the tokenizer has 258 ids, the model's vocabulary only 257"));
  config.tokenizer_path = "nowhere";
  EXPECT_THAT(
      input_error([&] { DataLoader::open(config, nullptr); }),
      HasSubstr("there is no tokenizer for it: model.hf_assets_path = \"nowhere\" does not"));
}

}  // namespace
}  // namespace titan::data
