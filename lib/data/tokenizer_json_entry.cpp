#include "lib/data/tokenizer_json_entry.hpp"

#include <algorithm>
#include <utility>

#include "lib/base/error.hpp"

namespace titan {

JsonEntry::JsonEntry(simdjson::dom::element value, std::string where, std::string path)
    : value_(value), where_(std::move(where)), path_(std::move(path)) {}

JsonEntry JsonEntry::parse(simdjson::dom::parser& parser, std::string_view json,
                           std::string where) {
  simdjson::dom::element root;
  auto error = parser.parse(json.data(), json.size()).get(root);
  if (error != simdjson::SUCCESS) {
    throw InputError(concat(where, ": not valid JSON: ", simdjson::error_message(error)));
  }
  return JsonEntry(root, std::move(where), "");
}

std::optional<JsonEntry> JsonEntry::find(std::string_view key) const {
  simdjson::dom::element value;
  if (object().at_key(key).get(value) != simdjson::SUCCESS || value.is_null()) return std::nullopt;
  return JsonEntry(value, where_, path_.empty() ? std::string(key) : concat(path_, ".", key));
}

JsonEntry JsonEntry::at(std::string_view key) const {
  if (auto entry = find(key)) return *entry;
  fail(concat("\"", key, "\" is missing"));
}

bool JsonEntry::flag(std::string_view key, bool otherwise) const {
  auto entry = find(key);
  return entry ? entry->boolean() : otherwise;
}

std::string JsonEntry::string() const {
  std::string_view text;
  if (value_.get(text) != simdjson::SUCCESS) fail("must be a string");
  return std::string(text);
}

bool JsonEntry::boolean() const {
  bool value = false;
  if (value_.get(value) != simdjson::SUCCESS) fail("must be true or false");
  return value;
}

int32_t JsonEntry::token_id() const {
  int64_t value = 0;
  if (value_.get(value) != simdjson::SUCCESS || value < 0 || value >= kMaxTokens) {
    fail(concat("must be a token id, an integer from 0 to ", kMaxTokens - 1));
  }
  return static_cast<int32_t>(value);
}

simdjson::dom::array JsonEntry::array() const {
  simdjson::dom::array array;
  if (value_.get(array) != simdjson::SUCCESS) fail("must be an array");
  return array;
}

simdjson::dom::object JsonEntry::object() const {
  simdjson::dom::object object;
  if (value_.get(object) != simdjson::SUCCESS) fail("must be an object");
  return object;
}

std::vector<JsonEntry> JsonEntry::items() const {
  std::vector<JsonEntry> items;
  for (simdjson::dom::element element : array()) {
    items.push_back(JsonEntry(element, where_, concat(path_, "[", items.size(), "]")));
  }
  return items;
}

void JsonEntry::allow_keys(std::initializer_list<std::string_view> keys) const {
  for (auto [key, value] : object()) {
    if (std::find(keys.begin(), keys.end(), key) == keys.end()) {
      fail(concat("the option \"", key, "\" is not supported"));
    }
  }
}

void JsonEntry::fail(std::string_view message) const {
  throw InputError(concat(place(), ": ", message));
}

std::string JsonEntry::place() const {
  return path_.empty() ? where_ : concat(where_, ": ", path_);
}

}  // namespace titan
