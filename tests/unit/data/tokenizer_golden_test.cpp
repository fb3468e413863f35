// Ids of many scripts, edge cases and ill-formed bytes, as the Python package `tokenizers` gives
// them (tests/oracle/tokenizer/make_golden.py).
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

#include "tests/unit/data/tokenizer_test_files.hpp"

namespace titan {
namespace {

struct Case {
  std::string text;  // bytes, not always well-formed
  std::string decoded;
  std::map<std::string, std::vector<int32_t>> ids;
};

std::string from_hex(const std::string& hex) {
  std::string bytes;
  for (size_t at = 0; at < hex.size(); at += 2) {
    bytes += static_cast<char>(std::stoi(hex.substr(at, 2), nullptr, 16));
  }
  return bytes;
}

std::vector<Case> golden_cases() {
  std::vector<Case> cases;
  std::istringstream lines(read_file(golden_folder() / "cases.jsonl"));
  for (std::string line; std::getline(lines, line);) {
    auto json = nlohmann::json::parse(line);
    cases.push_back({from_hex(json["hex"]), json["text"], json["ids"]});
  }
  return cases;
}

class TokenizerGolden : public testing::TestWithParam<const char*> {
 protected:
  std::unique_ptr<Tokenizer> tokenizer_ = load_tokenizer(golden_folder() / GetParam());
  std::vector<Case> cases_ = golden_cases();
};

TEST_P(TokenizerGolden, IdsAreThoseOfThePackage) {
  ASSERT_GT(cases_.size(), 90u);
  for (int pass : {1, 2}) {  // the second time the words come from the cache
    for (const Case& c : cases_) {
      EXPECT_EQ(encode(*tokenizer_, c.text), c.ids.at(GetParam()))
          << c.decoded << ", pass " << pass;
    }
  }
}

TEST_P(TokenizerGolden, DecodingGivesTheTextBack) {
  bool nfc = std::string_view(GetParam()) == "qwen2";
  for (const Case& c : cases_) {
    std::string text = tokenizer_->decode(c.ids.at(GetParam()));
    if (nfc) {  // the text in form C, which encoding leaves alone
      EXPECT_EQ(tokenizer_->decode(encode(*tokenizer_, text)), text);
    } else {
      EXPECT_EQ(text, c.decoded);
    }
  }
}

TEST_P(TokenizerGolden, ManyThreadsEncodeAtOnce) {
  std::vector<std::thread> threads;
  std::vector<int> wrong(4);
  for (int& count : wrong) {
    threads.emplace_back([&] {
      for (int pass = 0; pass < 5; ++pass) {
        for (const Case& c : cases_) count += encode(*tokenizer_, c.text) != c.ids.at(GetParam());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, std::vector<int>(4, 0));
}

INSTANTIATE_TEST_SUITE_P(Shapes, TokenizerGolden,
                         testing::Values("llama3", "llama4", "qwen2", "deepseek", "gpt2"),
                         [](const auto& info) { return info.param; });

TEST(ShippedTokenizer, FitsTheDebugModelAndFramesDocuments) {
  auto tokenizer = load_tokenizer(shipped_tokenizer());
  EXPECT_LE(tokenizer->vocab_size(), 2048);
  EXPECT_EQ(tokenizer->decode(tokenizer->document_prefix()), "<|begin_of_text|>");
  EXPECT_EQ(tokenizer->decode(tokenizer->document_suffix()), "<|end_of_text|>");
  EXPECT_EQ(tokenizer->bos_id(), tokenizer->document_prefix()[0]);
  EXPECT_EQ(tokenizer->eos_id(), tokenizer->document_suffix()[0]);
}

TEST(ShippedTokenizer, AppendsAndKeepsWhatIsThere) {
  auto tokenizer = load_tokenizer(shipped_tokenizer());
  std::vector<int32_t> ids = {7};
  tokenizer->encode("the river", ids);
  EXPECT_EQ(ids[0], 7);
  EXPECT_EQ(tokenizer->decode(std::span(ids).subspan(1)), "the river");
  EXPECT_NE(input_error([&] { tokenizer->decode(std::vector<int32_t>{2000}); }).find("2000"),
            std::string::npos);
  EXPECT_NE(input_error([&] { tokenizer->decode(std::vector<int32_t>{-1}); }).find("-1"),
            std::string::npos);
}

// A quadratic merge would take hours for these.
TEST(ShippedTokenizer, LongPiecesTakeNoTimeAndNoStack) {
  auto tokenizer = load_tokenizer(shipped_tokenizer());
  const size_t million = 1'000'000;
  for (std::string text :
       {std::string(million, 'a'), std::string(million, ' '), std::string(million, '\n'),
        std::string(million, '!'), std::string(million, '7'), std::string(million, '\xff')}) {
    std::vector<int32_t> ids = encode(*tokenizer, text);
    if (text[0] != '\xff') {
      EXPECT_EQ(tokenizer->decode(ids), text);
    }
    EXPECT_GE(ids.size(), million / 64);
  }
}

}  // namespace
}  // namespace titan
