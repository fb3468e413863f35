// What tokenizer.json and tokenizer_config.json may hold, and how they are refused.
#include <nlohmann/json.hpp>
#include <random>

#include "lib/data/tokenizer_spec.hpp"
#include "tests/unit/data/tokenizer_test_files.hpp"

namespace titan {
namespace {

using nlohmann::json;

const json& llama3() {
  static const json kFile = json::parse(read_file(golden_folder() / "llama3/tokenizer.json"));
  return kFile;
}

std::unique_ptr<Tokenizer> load(const json& file, const json& config = json::object()) {
  return load_tokenizer(
      folder_with({{"tokenizer.json", file.dump()}, {"tokenizer_config.json", config.dump()}}));
}

struct Refusal {
  const char* pointer;  // into tokenizer.json
  json value;
  const char* message;
};

class TokenizerJsonRefusal : public testing::TestWithParam<Refusal> {};

TEST_P(TokenizerJsonRefusal, NamesFileEntryAndReason) {
  json file = llama3();
  file[json::json_pointer(GetParam().pointer)] = GetParam().value;
  std::string message = input_error([&] { load(file); });
  EXPECT_NE(message.find(GetParam().message), std::string::npos) << message;
  EXPECT_NE(message.find("tokenizer.json"), std::string::npos) << message;
}

const json kSplit = {
    {"type", "Split"}, {"pattern", {{"Regex", "a"}}}, {"behavior", "Isolated"}, {"invert", false}};

INSTANTIATE_TEST_SUITE_P(
    , TokenizerJsonRefusal,
    testing::Values(
        Refusal{"/extra", 1, "the option \"extra\" is not supported"},
        Refusal{"/truncation", {{"max_length", 5}}, "truncation: must be null"},
        Refusal{"/padding", json::object(), "padding: must be null"},
        Refusal{"/model", nullptr, "\"model\" is missing"},
        Refusal{"/model/type", "Unigram", "the type \"Unigram\" is not supported"},
        Refusal{"/model/type", 5, "model.type: must be a string"},
        Refusal{"/model/dropout", 0.1, "model.dropout: is not supported"},
        Refusal{"/model/byte_fallback", true, "model.byte_fallback: is not supported"},
        Refusal{"/model/end_of_word_suffix", "</w>", "model.end_of_word_suffix: is not supported"},
        Refusal{"/model/ignore_merges", "yes", "model.ignore_merges: must be true or false"},
        Refusal{"/model/cache", 1, "the option \"cache\" is not supported"},
        Refusal{"/model/vocab", json::object(), "model.vocab: is empty"},
        Refusal{"/model/vocab", json::array(), "model.vocab: must be an object"},
        Refusal{"/model/vocab/a", -1, "the id of \"a\" must be an integer"},
        Refusal{"/model/vocab/a", 1e9, "the id of \"a\" must be an integer"},
        Refusal{"/model/vocab/a", 5000000, "the id of \"a\" must be an integer"},
        Refusal{"/model/vocab/a", 3, "share the id 3"},
        Refusal{"/model/merges", "a b", "model.merges: must be an array"},
        Refusal{"/model/merges/0", "ab", "a merge must be two tokens"},
        Refusal{"/model/merges/0", "a b c", "a merge must be two tokens"},
        Refusal{"/model/merges/0", {"a"}, "every merge must be"},
        Refusal{"/model/merges/0", {"a", "zzz"}, "which the vocabulary lacks"},
        Refusal{"/normalizer", {{"type", "NFKC"}}, "the type \"NFKC\" is not supported"},
        Refusal{"/normalizer", {{"type", "NFC"}, {"x", 1}}, "normalizer: the option \"x\""},
        Refusal{"/pre_tokenizer", nullptr, "\"pre_tokenizer\" is missing"},
        Refusal{"/pre_tokenizer", {{"type", "Metaspace"}}, "the type \"Metaspace\""},
        Refusal{"/pre_tokenizer", kSplit, "ByteLevel is missing"},
        Refusal{"/pre_tokenizer/pretokenizers/2", kSplit, "nothing may follow ByteLevel"},
        Refusal{"/pre_tokenizer/pretokenizers/0/behavior", "Both", "the behavior \"Both\""},
        Refusal{"/pre_tokenizer/pretokenizers/0/pattern", {{"Regex", "a(?m)"}}, "pattern: "},
        Refusal{"/pre_tokenizer/pretokenizers/0/pattern", {{"Regex", "(a"}}, "parenthesis"},
        Refusal{"/pre_tokenizer/pretokenizers/0/pattern", {{"Glob", "a"}}, "\"Glob\""},
        Refusal{"/pre_tokenizer/pretokenizers/0/invert", nullptr, "\"invert\" is missing"},
        Refusal{"/decoder", {{"type", "WordPiece"}}, "the type \"WordPiece\""},
        Refusal{"/post_processor", {{"type", "BertProcessing"}}, "the type \"BertProcessing\""},
        Refusal{"/post_processor/single", json::array(), "must hold Sequence A once"},
        Refusal{"/post_processor/single/1/Sequence/id", "B", "must hold Sequence A once"},
        Refusal{"/post_processor/single/0/SpecialToken/id", "<x>", "\"<x>\" is missing"},
        Refusal{"/added_tokens/0/id", "x", "must be a token id"},
        Refusal{"/added_tokens/0/content", nullptr, "\"content\" is missing"},
        Refusal{"/added_tokens/0/lstrip", 2, "added_tokens[0].lstrip: must be true or false"},
        Refusal{"/added_tokens/0/colour", 2, "the option \"colour\" is not supported"}));

TEST(TokenizerJson, EveryCutIsRefused) {
  std::string text = llama3().dump();
  for (size_t length = 0; length < text.size(); length += 101) {
    EXPECT_THROW(parse_tokenizer_json(text.substr(0, length), "file"), InputError) << length;
  }
}

// Whatever stands in the file: it loads or it is refused, and what loads encodes.
TEST(TokenizerJson, DamagedFilesNeverDoHarm) {
  std::string text = llama3().dump();
  std::mt19937 random(1);
  int loaded = 0;
  for (int round = 0; round < 400; ++round) {
    std::string damaged = text;
    for (int change = 0; change < 2; ++change) {
      damaged[random() % damaged.size()] = "0\"{}[],:a\\"[random() % 10];
    }
    try {
      auto tokenizer = build_tokenizer(parse_tokenizer_json(damaged, "file"), "", "file");
      encode(*tokenizer, "The river, 1234 \xf0\x9f\x98\x80");
      ++loaded;
    } catch (const InputError&) {
    }
  }
  EXPECT_GT(loaded, 0);
  EXPECT_LT(loaded, 400);
}

TEST(TokenizerJson, MergesAsStringsAndAsPairsAreTheSame) {
  json file = llama3();
  for (json& merge : file["model"]["merges"]) {
    merge = merge[0].get<std::string>() + " " + merge[1].get<std::string>();
  }
  std::string text = "The river is wide here, Übung";
  EXPECT_EQ(encode(*load(file), text), encode(*load(llama3()), text));
}

TEST(TokenizerJson, IgnoreMergesTakesWholePiecesFirst) {
  json file = llama3();
  file["model"]["vocab"]["qzx"] = 500;  // no merge leads there
  EXPECT_EQ(encode(*load(file), "qzx"), std::vector<int32_t>{500});
  file["model"]["ignore_merges"] = false;
  EXPECT_EQ(encode(*load(file), "qzx").size(), 3u);
}

TEST(TokenizerJson, TheLongestAddedTokenWins) {
  json file = llama3();
  int32_t next = 422;
  for (const char* content : {"<t>", "<t><u>", "<t><u><v>"}) {
    json token = file["added_tokens"][0];
    token["id"] = next++;
    token["content"] = content;
    file["added_tokens"].push_back(token);
  }
  auto tokenizer = load(file);
  EXPECT_EQ(encode(*tokenizer, "<t><u><v><t><u><t>"), (std::vector<int32_t>{424, 423, 422}));
  EXPECT_EQ(tokenizer->vocab_size(), 425);
}

TEST(TokenizerJson, BytesWithoutTokenAreDroppedWithAWarning) {
  json file = llama3();
  file["model"]["vocab"] = {{"a", 0}, {"b", 1}, {"ab", 2}};
  file["model"]["merges"] = json::array({json::array({"a", "b"})});
  EXPECT_EQ(encode(*load(file), "ab zab"), (std::vector<int32_t>{2, 2}));
  TokenizerSpec spec = parse_tokenizer_json(file.dump(), "file");
  spec.warn_of_dropped_bytes();
  ASSERT_FALSE(spec.warnings.empty());
  EXPECT_NE(spec.warnings.back().find("dropped"), std::string::npos);
  file["model"]["unk_token"] = "a";
  EXPECT_NE(input_error([&] { load(file); }).find("model.unk_token"), std::string::npos);
}

std::vector<int32_t> to_vector(std::span<const int32_t> ids) { return {ids.begin(), ids.end()}; }

TEST(TokenizerConfig, BosAndEosAreAddedOnceAndOnlyIfKnown) {
  json bare = llama3();
  bare["post_processor"] = nullptr;
  struct {
    json file, config;
    std::vector<int32_t> prefix, suffix;
  } cases[] = {
      {bare, json::object(), {}, {}},
      {bare, {{"bos_token", "<|begin_of_text|>"}}, {420}, {}},
      {bare, {{"bos_token", nullptr}, {"eos_token", {{"content", "<|end_of_text|>"}}}}, {}, {421}},
      // Llama-3's template has BOS already.
      {llama3(),
       {{"bos_token", "<|begin_of_text|>"}, {"eos_token", "<|end_of_text|>"}},
       {420},
       {421}},
      {llama3(), json::object(), {420}, {}},
      // One mark between documents is enough.
      {bare, {{"bos_token", "<|end_of_text|>"}, {"eos_token", "<|end_of_text|>"}}, {421}, {}},
      // Tokens of the config that the vocabulary lacks are added behind it.
      {bare, {{"bos_token", "<new>"}, {"eos_token", "<newer>"}}, {422}, {423}},
  };
  for (const auto& c : cases) {
    auto tokenizer = load(c.file, c.config);
    EXPECT_EQ(to_vector(tokenizer->document_prefix()), c.prefix) << c.config;
    EXPECT_EQ(to_vector(tokenizer->document_suffix()), c.suffix) << c.config;
  }
}

TEST(TokenizerConfig, ItsTokensAreFoundInTexts) {
  json config = {{"bos_token", "<s>"},
                 {"added_tokens_decoder", {{"77", {{"content", "<call>"}, {"rstrip", true}}}}}};
  EXPECT_EQ(encode(*load(llama3(), config), "<s><call>  \n"), (std::vector<int32_t>{422, 423}));
}

TEST(TokenizerConfig, MalformedOnesAreRefused) {
  for (json config : {json{{"bos_token", 5}}, json{{"eos_token", json::object()}}, json(3),
                      json{{"added_tokens_decoder", {{"1", "x"}}}}}) {
    EXPECT_NE(input_error([&] { load(llama3(), config); }).find("tokenizer_config.json"),
              std::string::npos);
  }
}

}  // namespace
}  // namespace titan
