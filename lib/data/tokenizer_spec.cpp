#include "lib/data/tokenizer_spec.hpp"

#include <algorithm>
#include <utility>

#include "lib/base/error.hpp"
#include "lib/data/bpe_alphabet.hpp"

namespace titan {

std::optional<int32_t> TokenizerSpec::find_id(const std::string& token) const {
  if (auto added = added_index_.find(token); added != added_index_.end()) {
    return added_tokens[added->second].id;
  }
  if (auto entry = vocab.find(token); entry != vocab.end()) return entry->second;
  return std::nullopt;
}

int32_t TokenizerSpec::add_token(AddedToken token) {
  int32_t next_id = std::max(static_cast<int32_t>(vocab.size()), highest_added_id_ + 1);
  token.id = find_id(token.content).value_or(next_id);
  highest_added_id_ = std::max(highest_added_id_, token.id);
  int32_t id = token.id;
  auto [entry, is_new] = added_index_.emplace(token.content, added_tokens.size());
  if (is_new) {
    added_tokens.push_back(std::move(token));
  } else {
    added_tokens[entry->second] = std::move(token);
  }
  return id;
}

std::optional<std::string> TokenizerSpec::bytes_of(const std::string& token) const {
  return byte_alphabet ? spelled_bytes(token) : token;
}

std::array<int32_t, 256> TokenizerSpec::byte_ids() const {
  std::array<int32_t, 256> ids;
  ids.fill(-1);
  for (const auto& [token, id] : vocab) {
    auto bytes = bytes_of(token);
    if (bytes && bytes->size() == 1) ids[static_cast<uint8_t>(bytes->front())] = id;
  }
  return ids;
}

void TokenizerSpec::warn_of_dropped_bytes() {
  std::array<int32_t, 256> ids = byte_ids();
  std::string dropped;
  for (int byte = 0; byte < 256; ++byte) {
    bool in_utf8 = byte != 0xC0 && byte != 0xC1 && byte < 0xF5;
    if (in_utf8 && ids[byte] < 0) dropped += concat(dropped.empty() ? "" : " ", byte);
  }
  if (dropped.empty()) return;
  warnings.push_back(
      concat("the vocabulary has no token for these bytes, which will be dropped from "
             "every text, as Hugging Face's tokenizers does: ",
             dropped));
}

Regex byte_level_pattern() {
  return Regex::from_oniguruma(
      R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)");
}

}  // namespace titan
