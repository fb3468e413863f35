// Which files load_tokenizer() takes, the formats beside tokenizer.json, and fingerprints.
#include <nlohmann/json.hpp>

#include "tests/unit/data/tokenizer_test_files.hpp"

namespace titan {
namespace {

std::string base64(std::string_view bytes) {
  const char* digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  for (size_t at = 0; at < bytes.size(); at += 3) {
    uint32_t bits = 0;
    for (size_t byte = at; byte < at + 3; ++byte) {
      bits = bits << 8 | (byte < bytes.size() ? static_cast<uint8_t>(bytes[byte]) : 0);
    }
    for (int digit = 0; digit < 4; ++digit) {
      bool padding = at + digit > bytes.size();
      text += padding ? '=' : digits[bits >> (18 - 6 * digit) & 63];
    }
  }
  return text;
}

// The 256 bytes, then these tokens.
std::string rank_file(const std::vector<std::string>& tokens) {
  std::string lines;
  int rank = 0;
  for (int byte = 0; byte < 256; ++byte) {
    lines += concat(base64(std::string(1, static_cast<char>(byte))), " ", rank++, "\n");
  }
  for (const std::string& token : tokens) lines += concat(base64(token), " ", rank++, "\n");
  return lines;
}

std::string load_error(const std::map<std::string, std::string>& files) {
  return input_error([&] { load_tokenizer(folder_with(files)); });
}

TEST(Tiktoken, MergesByRankWithLlama3Specials) {
  auto tokenizer = load_tokenizer(
      folder_with({{"tokenizer.model", rank_file({"bc", "ab", "abc", " ab", "abcd"})}}));
  // "bc" before "ab" by rank; the whole piece " ab" is a token though no merge makes it.
  EXPECT_EQ(encode(*tokenizer, "abc"), std::vector<int32_t>{258});
  EXPECT_EQ(encode(*tokenizer, "xabc"), (std::vector<int32_t>{'x', 258}));
  EXPECT_EQ(encode(*tokenizer, "ab ab"), (std::vector<int32_t>{257, 259}));
  EXPECT_EQ(encode(*tokenizer, "abab"), (std::vector<int32_t>{257, 257}));
  EXPECT_EQ(tokenizer->vocab_size(), 261 + 256);
  EXPECT_EQ(tokenizer->bos_id(), 261);
  EXPECT_EQ(tokenizer->eos_id(), 262);
  EXPECT_EQ(encode(*tokenizer, "<|eot_id|>"), std::vector<int32_t>{261 + 9});
  EXPECT_EQ(tokenizer->decode(encode(*tokenizer, "ab\xF0\x9F\x98\x80")), "ab\xF0\x9F\x98\x80");
}

// Both neighbours of "aa" in "aaa|a" give "aaa": equal ranks, so the left one goes first.
TEST(Tiktoken, EqualRanksMergeLeftmost) {
  auto tokenizer = load_tokenizer(folder_with({{"tokenizer.model", rank_file({"aa", "aaa"})}}));
  EXPECT_EQ(encode(*tokenizer, "aaaa"), (std::vector<int32_t>{256, 256}));
  EXPECT_EQ(encode(*tokenizer, "aaaaa"), (std::vector<int32_t>{256, 257}));
}

TEST(Tiktoken, BadFilesAreRefused) {
  EXPECT_NE(load_error({{"tokenizer.model", "\x0a\x0e\x0a\x05<unk>"}}).find("SentencePiece"),
            std::string::npos);
  EXPECT_NE(load_error({{"tokenizer.model", "YQ== 0\n"}}).find("single byte 0"), std::string::npos);
  EXPECT_NE(load_error({{"tokenizer.model", rank_file({}) + "YQ== 256\n"}}).find("listed twice"),
            std::string::npos);
  EXPECT_NE(load_error({{"tokenizer.model", rank_file({}) + "YWI= 97\n"}}).find("share the id 97"),
            std::string::npos);
  for (const char* line : {"YWI 256", "YWI= ", "YWI= x", "YWI= 1x", "YWI= -1", "Y*I= 1", "YWI=\t1",
                           "YWI= 99999999999"}) {
    EXPECT_NE(load_error({{"tokenizer.model", rank_file({}) + line}}).find("line 257"),
              std::string::npos)
        << line;
  }
}

// The vocabulary and the merges of a golden tokenizer as the two files of GPT-2.
std::map<std::string, std::string> gpt2_files() {
  auto model = nlohmann::json::parse(read_file(golden_folder() / "gpt2/tokenizer.json"))["model"];
  std::string merges = "#version: 0.2\n";
  for (const auto& merge : model["merges"]) {
    merges += merge[0].get<std::string>() + " " + merge[1].get<std::string>() + "\n";
  }
  return {{"vocab.json", model["vocab"].dump()}, {"merges.txt", merges}};
}

TEST(VocabularyAndMerges, AreGpt2sTokenizer) {
  auto expected = load_tokenizer(golden_folder() / "gpt2");
  auto tokenizer = load_tokenizer(folder_with(gpt2_files()));
  for (const char* text :
       {"The river isn't wide  here.\n\n 42", "Река здесь широкая", "\t x \r\n"}) {
    EXPECT_EQ(encode(*tokenizer, text), encode(*expected, text)) << text;
  }
  EXPECT_TRUE(tokenizer->document_prefix().empty());
}

TEST(VocabularyAndMerges, BadFilesAreRefused) {
  auto files = gpt2_files();
  files["merges.txt"] += "\xC4\xA0";
  EXPECT_NE(load_error(files).find("merges.txt, line"), std::string::npos);
  files["merges.txt"] = "#version: 0.2\na b\nno such\n";
  EXPECT_NE(load_error(files).find("merges.txt, line"), std::string::npos);
  files.erase("merges.txt");
  EXPECT_NE(load_error(files).find("no merges.txt"), std::string::npos);
  EXPECT_NE(load_error({{"vocab.json", "[]"}, {"merges.txt", ""}}).find("must be an object"),
            std::string::npos);
}

TEST(LoadTokenizer, SaysWhatItLookedFor) {
  for (auto folder : {folder_with({}), std::filesystem::path("/no/such/folder")}) {
    std::string message = input_error([&] { load_tokenizer(folder); });
    for (const char* part : {"tokenizer.json", "vocab.json", "tokenizer.model", folder.c_str(),
                             "model.hf_assets_path"}) {
      EXPECT_NE(message.find(part), std::string::npos) << message;
    }
  }
}

TEST(LoadTokenizer, PrefersTokenizerJson) {
  auto files = gpt2_files();
  files["tokenizer.json"] = read_file(golden_folder() / "llama3/tokenizer.json");
  EXPECT_EQ(load_tokenizer(folder_with(files))->vocab_size(), 422);
}

TEST(LoadTokenizer, FingerprintsFollowTheFiles) {
  auto files = gpt2_files();
  std::string first = load_tokenizer(folder_with(files))->fingerprint();
  EXPECT_EQ(first.size(), 32u);
  EXPECT_EQ(load_tokenizer(folder_with(files))->fingerprint(), first);
  files["unrelated.txt"] = "x";
  EXPECT_EQ(load_tokenizer(folder_with(files))->fingerprint(), first);
  files["tokenizer_config.json"] = "{}";
  std::string second = load_tokenizer(folder_with(files))->fingerprint();
  EXPECT_NE(second, first);
  files["merges.txt"].erase(files["merges.txt"].rfind('\n', files["merges.txt"].size() - 2) + 1);
  EXPECT_NE(load_tokenizer(folder_with(files))->fingerprint(), second);
}

}  // namespace
}  // namespace titan
