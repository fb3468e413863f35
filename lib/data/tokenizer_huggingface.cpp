#include "lib/data/tokenizer_huggingface.hpp"

#include <algorithm>
#include <string>
#include <utility>

#include "lib/base/error.hpp"

namespace titan {
namespace {

int32_t id_in_merge(const std::string& token, const std::string& where, const TokenizerSpec& spec) {
  auto entry = spec.vocab.find(token);
  if (entry == spec.vocab.end()) {
    throw InputError(concat(where, ": a merge needs \"", token, "\", which the vocabulary lacks"));
  }
  return entry->second;
}

void add_merge(const std::string& left, const std::string& right, const std::string& where,
               TokenizerSpec& spec) {
  spec.merges.push_back({id_in_merge(left, where, spec), id_in_merge(right, where, spec),
                         id_in_merge(left + right, where, spec),
                         static_cast<int32_t>(spec.merges.size())});
}

// "a b"
void add_merge_line(std::string_view line, const std::string& where, TokenizerSpec& spec) {
  size_t space = line.find(' ');
  if (space == line.npos || line.find(' ', space + 1) != line.npos) {
    throw InputError(concat(
        where, ": a merge must be two tokens with a space between them, found \"", line, "\""));
  }
  add_merge(std::string(line.substr(0, space)), std::string(line.substr(space + 1)), where, spec);
}

}  // namespace

void read_vocab(const JsonEntry& vocab, TokenizerSpec& spec) {
  simdjson::dom::object object = vocab.object();
  spec.vocab.reserve(object.size());
  for (auto [token, value] : object) {
    int64_t id = 0;
    // The entry with its path is made only for the message: there may be 200,000 of these.
    if (value.get(id) != simdjson::SUCCESS || id < 0 || id >= kMaxTokens) {
      vocab.fail(concat("the id of \"", token, "\" must be an integer from 0 to ", kMaxTokens - 1));
    }
    if (!spec.vocab.emplace(token, static_cast<int32_t>(id)).second) {
      vocab.fail(concat("\"", token, "\" is listed twice"));
    }
  }
  if (spec.vocab.empty()) vocab.fail("is empty");
}

void read_merges(const JsonEntry& merges, TokenizerSpec& spec) {
  simdjson::dom::array array = merges.array();
  spec.merges.reserve(array.size());
  std::string where = merges.place();
  for (simdjson::dom::element element : array) {
    std::string_view line, left, right;
    simdjson::dom::array pair;
    if (element.get(line) == simdjson::SUCCESS) {
      if (!line.starts_with("#version")) add_merge_line(line, where, spec);
    } else if (element.get(pair) == simdjson::SUCCESS && pair.size() == 2 &&
               pair.at(0).get(left) == simdjson::SUCCESS &&
               pair.at(1).get(right) == simdjson::SUCCESS) {
      add_merge(std::string(left), std::string(right), where, spec);
    } else {
      merges.fail("every merge must be \"a b\" or [\"a\", \"b\"]");
    }
  }
}

AddedToken read_added_token(const JsonEntry& entry) {
  AddedToken token;
  token.content = entry.at("content").string();
  token.single_word = entry.flag("single_word", false);
  token.lstrip = entry.flag("lstrip", false);
  token.rstrip = entry.flag("rstrip", false);
  token.normalized = entry.flag("normalized", true);
  return token;
}

TokenizerSpec parse_vocab_and_merges(std::string_view vocab_json, const std::string& vocab_where,
                                     std::string_view merges_txt, const std::string& merges_where) {
  simdjson::dom::parser parser;
  TokenizerSpec spec;
  read_vocab(JsonEntry::parse(parser, vocab_json, vocab_where), spec);
  for (size_t number = 1; !merges_txt.empty(); ++number) {
    std::string_view line = merges_txt.substr(0, merges_txt.find('\n'));
    merges_txt.remove_prefix(std::min(merges_txt.size(), line.size() + 1));
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty() || line.starts_with("#version")) continue;
    add_merge_line(line, concat(merges_where, ", line ", number), spec);
  }
  SplitStage stage;
  stage.pattern = byte_level_pattern();
  spec.stages.push_back(std::move(stage));
  return spec;
}

namespace {

// The text of bos_token and the like: a string, or an object with "content".
std::optional<std::string> special_text(const JsonEntry& root, std::string_view key) {
  auto entry = root.find(key);
  if (!entry) return std::nullopt;
  return entry->is_object() ? entry->at("content").string() : entry->string();
}

}  // namespace

void apply_tokenizer_config(TokenizerSpec& spec, std::string_view json, const std::string& where) {
  simdjson::dom::parser parser;
  JsonEntry root = JsonEntry::parse(parser, json, where);
  for (std::string_view key : {"bos_token", "eos_token", "pad_token", "unk_token", "sep_token",
                               "cls_token", "mask_token"}) {
    auto text = special_text(root, key);
    if (!text || text->empty()) continue;
    AddedToken token;
    if (root.at(key).is_object()) {
      token = read_added_token(root.at(key));
    } else {
      token.content = *text;
      token.normalized = false;
    }
    spec.add_token(std::move(token));
  }
  if (auto decoder = root.find("added_tokens_decoder")) {
    for (auto [id, value] : decoder->object()) {
      AddedToken token = read_added_token(decoder->at(id));
      if (!token.content.empty()) spec.add_token(std::move(token));
    }
  }
  if (auto bos = special_text(root, "bos_token")) spec.bos_id = spec.find_id(*bos);
  if (auto eos = special_text(root, "eos_token")) spec.eos_id = spec.find_id(*eos);
}

}  // namespace titan
