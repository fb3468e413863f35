// Values as text: read from a flag, written as TOML or JSON, named in messages.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "lib/config/schema.hpp"

namespace titan::config {

// The value of a flag's argument for an option, or the reason why it is none. `None` resets an
// optional option; a list is split at commas, empty elements dropped; a list of lists is a TOML
// literal.
struct ParsedValue {
  std::optional<Value> value;
  std::string expected;  // "an integer"; set when there is no value
};
ParsedValue parse_argument(Type type, bool optional, std::string_view text);

// "a,b,,c" -> {"a", "b", "c"}.
Strings split_commas(std::string_view text);

// As TOML. None is "None".
std::string to_toml_literal(const Value& value);

// "an integer", "a list of strings", ...
std::string_view type_phrase(Type type);

// For tables: "int at least 1", "float or None", "linear | sqrt | cosine".
std::string type_name(const Option& option);

// What is wrong with a value of the option's type: "must be at least 1, got 0". Empty: nothing.
std::string value_problem(const Option& option, const Value& value);

bool valid_utf8(std::string_view text);

}  // namespace titan::config
