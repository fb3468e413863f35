// A value of a JSON file that knows its place, so that every complaint names the file and the
// entry.
#pragma once

#include <simdjson.h>

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace titan {

// Token ids lie in [0, kMaxTokens): far above any vocabulary, small enough for tables by id.
inline constexpr int32_t kMaxTokens = 1 << 22;

// Valid as long as the parser that made it. Accessors throw InputError unless the value has the
// type.
class JsonEntry {
 public:
  // Parses a whole file; `parser` keeps the values.
  static JsonEntry parse(simdjson::dom::parser& parser, std::string_view json, std::string where);

  // A member; absent ones and null give nullopt (find) or InputError (at).
  std::optional<JsonEntry> find(std::string_view key) const;
  JsonEntry at(std::string_view key) const;
  // A boolean member, or the default where it is absent or null.
  bool flag(std::string_view key, bool otherwise) const;

  std::string string() const;
  bool boolean() const;
  int32_t token_id() const;
  std::vector<JsonEntry> items() const;
  simdjson::dom::array array() const;
  simdjson::dom::object object() const;
  bool is_object() const { return value_.is_object(); }

  // Every key must be one of these: an option that this engine ignores could change the ids.
  void allow_keys(std::initializer_list<std::string_view> keys) const;

  // Throws InputError: file, entry, message.
  [[noreturn]] void fail(std::string_view message) const;
  const std::string& path() const { return path_; }
  // "FILE: ENTRY", for messages.
  std::string place() const;

 private:
  JsonEntry(simdjson::dom::element value, std::string where, std::string path);

  simdjson::dom::element value_;
  std::string where_, path_;
};

}  // namespace titan
