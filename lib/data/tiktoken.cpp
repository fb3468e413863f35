// Reads tiktoken's rank files ("base64-of-bytes rank" lines), with the pattern and the special
// tokens of Llama-3, whose tokenizer.model this is.
#include <algorithm>
#include <charconv>
#include <string>
#include <utility>
#include <vector>

#include "lib/base/error.hpp"
#include "lib/data/tokenizer_json_entry.hpp"
#include "lib/data/tokenizer_spec.hpp"

namespace titan {
namespace {

constexpr std::string_view kLlama3Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|)"
    R"(\s*[\r\n]+|\s+(?!\S)|\s+)";

// nullopt for anything but whole groups of four characters, padded with '='.
std::optional<std::string> decode_base64(std::string_view text) {
  constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  if (text.empty() || text.size() % 4 != 0) return std::nullopt;
  size_t padding = text.ends_with("==") ? 2 : text.ends_with("=") ? 1 : 0;
  std::string bytes;
  uint32_t bits = 0;
  for (size_t at = 0; at < text.size(); ++at) {
    size_t digit = at < text.size() - padding ? kDigits.find(text[at]) : 0;
    if (digit == kDigits.npos) return std::nullopt;
    bits = bits << 6 | static_cast<uint32_t>(digit);
    if (at % 4 != 3) continue;
    for (int shift : {16, 8, 0}) bytes += static_cast<char>(bits >> shift & 0xFF);
    bits = 0;
  }
  bytes.resize(bytes.size() - padding);
  return bytes;
}

void read_line(std::string_view line, const std::string& where, TokenizerSpec& spec) {
  size_t space = line.find(' ');
  auto token = decode_base64(line.substr(0, space));
  int32_t rank = -1;
  bool rank_read = false;
  if (space != line.npos) {
    const char* end = line.data() + line.size();
    auto result = std::from_chars(line.data() + space + 1, end, rank);
    rank_read = result.ec == std::errc() && result.ptr == end && rank >= 0 && rank < kMaxTokens;
  }
  if (!token || !rank_read) {
    throw InputError(concat(where,
                            ": not a tiktoken rank (\"base64 rank\"). SentencePiece models are "
                            "not supported: bring a tokenizer.json"));
  }
  if (!spec.vocab.emplace(*std::move(token), rank).second) {
    throw InputError(concat(where, ": this token is listed twice"));
  }
}

// tiktoken merges any two neighbours whose bytes together are a token, lowest rank first.
std::vector<BytePairEncoder::Merge> all_merges(const TokenizerSpec& spec) {
  std::vector<BytePairEncoder::Merge> merges;
  for (const auto& [token, id] : spec.vocab) {
    for (size_t cut = 1; cut < token.size(); ++cut) {
      auto left = spec.vocab.find(token.substr(0, cut)), right = spec.vocab.find(token.substr(cut));
      if (left == spec.vocab.end() || right == spec.vocab.end()) continue;
      merges.push_back({left->second, right->second, id, id});
    }
  }
  return merges;
}

// As in Llama-3.1's tokenizer.json: 256 of them, most in reserve.
std::vector<std::string> llama3_special_tokens() {
  int reserved = 0;
  auto reserve = [&] { return concat("<|reserved_special_token_", reserved++, "|>"); };
  std::vector<std::string> tokens = {"<|begin_of_text|>", "<|end_of_text|>"};
  tokens.push_back(reserve());
  tokens.push_back(reserve());
  tokens.push_back("<|finetune_right_pad_id|>");
  tokens.push_back(reserve());
  for (const char* name :
       {"<|start_header_id|>", "<|end_header_id|>", "<|eom_id|>", "<|eot_id|>", "<|python_tag|>"}) {
    tokens.push_back(name);
  }
  while (tokens.size() < 256) tokens.push_back(reserve());
  return tokens;
}

}  // namespace

TokenizerSpec parse_tiktoken(std::string_view ranks, const std::string& where) {
  TokenizerSpec spec;
  spec.byte_alphabet = false;
  spec.whole_pieces_first = true;
  for (size_t number = 1; !ranks.empty(); ++number) {
    std::string_view line = ranks.substr(0, ranks.find('\n'));
    ranks.remove_prefix(std::min(ranks.size(), line.size() + 1));
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (!line.empty()) read_line(line, concat(where, ", line ", number), spec);
  }
  for (int byte = 0; byte < 256; ++byte) {
    if (!spec.vocab.contains(std::string(1, static_cast<char>(byte)))) {
      throw InputError(concat(where, ": the rank of the single byte ", byte, " is missing"));
    }
  }
  spec.merges = all_merges(spec);
  SplitStage stage;
  stage.pattern = Regex::from_oniguruma(kLlama3Pattern);
  spec.stages.push_back(std::move(stage));
  for (std::string& content : llama3_special_tokens()) {
    AddedToken token;
    token.content = std::move(content);
    token.normalized = false;
    spec.add_token(std::move(token));
  }
  spec.bos_id = spec.find_id("<|begin_of_text|>");
  spec.eos_id = spec.find_id("<|end_of_text|>");
  return spec;
}

}  // namespace titan
