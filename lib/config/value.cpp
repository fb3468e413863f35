#include "lib/config/value.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <sstream>

#include "lib/base/error.hpp"
#include "lib/config/suggest.hpp"
#include "lib/config/toml_reader.hpp"

namespace titan::config {

namespace {

// "2_000" -> "2000": TOML and Python allow underscores between digits. Nothing else is changed.
std::string without_digit_separators(std::string_view text) {
  std::string plain;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto digit = [&](std::size_t at) {
      return at < text.size() && text[at] >= '0' && text[at] <= '9';
    };
    if (text[i] == '_' && i > 0 && digit(i - 1) && digit(i + 1)) continue;
    plain += text[i];
  }
  return plain;
}

template <class Number>
std::optional<Value> parse_number(std::string_view text) {
  std::string plain = without_digit_separators(text);
  if (plain.starts_with('+') && !plain.starts_with("+-")) plain.erase(0, 1);
  Number number{};
  const auto [end, error] = std::from_chars(plain.data(), plain.data() + plain.size(), number);
  if (error != std::errc() || end != plain.data() + plain.size()) return std::nullopt;
  return number;
}

std::string toml_string(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    switch (c) {
      case '"':
        out += "\\\"";
        break;
      case '\\':
        out += "\\\\";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\r':
        out += "\\r";
        break;
      case '\t':
        out += "\\t";
        break;
      default:
        if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
          constexpr std::string_view hex = "0123456789ABCDEF";
          out += "\\u00";
          out += hex[static_cast<unsigned char>(c) >> 4];
          out += hex[c & 15];
        } else {
          out += c;
        }
    }
  }
  return out + '"';
}

// The shortest digits that read back to the same number, always with a point or an exponent.
std::string float_literal(double number) {
  char buffer[32];
  const auto [end, error] = std::to_chars(buffer, buffer + sizeof(buffer), number);
  std::string text(buffer, end);
  if (std::isfinite(number) && text.find_first_of(".e") == text.npos) text += ".0";
  return text;
}

template <class List, class Element>
std::string bracketed(const List& list, Element&& element) {
  std::string out = "[";
  for (const auto& item : list) {
    if (out.size() > 1) out += ", ";
    out += element(item);
  }
  return out + "]";
}

struct TomlLiteral {
  std::string operator()(None) const { return "\"None\""; }
  std::string operator()(bool value) const { return value ? "true" : "false"; }
  std::string operator()(std::int64_t value) const { return std::to_string(value); }
  std::string operator()(double value) const { return float_literal(value); }
  std::string operator()(const std::string& value) const { return toml_string(value); }
  std::string operator()(const Strings& value) const { return bracketed(value, toml_string); }
  std::string operator()(const std::vector<Strings>& value) const {
    return bracketed(value, *this);
  }
};

// "at least 0 and below 1", or "" for any finite number.
std::string range_phrase(const Range& range) {
  std::ostringstream out;
  out.precision(15);
  const bool has_low = range.low > std::numeric_limits<double>::lowest();
  if (has_low) out << (range.open_low ? "above " : "at least ") << range.low;
  if (range.high < std::numeric_limits<double>::max()) {
    out << (has_low ? " and " : "") << (range.open_high ? "below " : "at most ") << range.high;
  }
  return out.str();
}

std::string range_problem(const Range& range, double number, const Value& value) {
  const bool low_ok = range.open_low ? number > range.low : number >= range.low;
  const bool high_ok = range.open_high ? number < range.high : number <= range.high;
  if (low_ok && high_ok) return "";  // NaN fails both
  const std::string allowed = range_phrase(range);
  return "must be " + (allowed.empty() ? "a finite number" : allowed) + ", got " +
         to_toml_literal(value);
}

std::string word_problem(const Option& option, const std::string& given) {
  if (option.words.empty() || std::ranges::count(option.words, given) > 0) return "";
  std::string out = option.words.size() == 1 ? "expected " : "expected one of ";
  for (std::size_t i = 0; i < option.words.size(); ++i) {
    out += (i ? ", " : "") + std::string(option.words[i]);
  }
  return out + ", got " + toml_string(given) + did_you_mean(given, option.words);
}

}  // namespace

std::string to_toml_literal(const Value& value) { return std::visit(TomlLiteral{}, value); }

Strings split_commas(std::string_view text) {
  Strings parts;
  while (!text.empty()) {
    const auto comma = std::min(text.find(','), text.size());
    if (comma > 0) parts.emplace_back(text.substr(0, comma));
    text.remove_prefix(std::min(comma + 1, text.size()));
  }
  return parts;
}

ParsedValue parse_argument(Type type, bool optional, std::string_view text) {
  if (optional && text == "None") return {Value(None{}), ""};
  std::optional<Value> value;
  switch (type) {
    case Type::kBool:
      if (text == "true" || text == "false") value = text == "true";
      break;
    case Type::kInt:
      value = parse_number<std::int64_t>(text);
      break;
    case Type::kFloat:
      value = parse_number<double>(text);
      break;
    case Type::kString:
      value = std::string(text);
      break;
    case Type::kList:
      value = split_commas(text);
      break;
    case Type::kListOfLists:
      value = parse_list_of_lists(text);
      break;
  }
  std::string expected = value ? "" : std::string(type_phrase(type));
  return {std::move(value), std::move(expected)};
}

std::string_view type_phrase(Type type) {
  switch (type) {
    case Type::kBool:
      return "true or false";
    case Type::kInt:
      return "an integer";
    case Type::kFloat:
      return "a number";
    case Type::kString:
      return "a string";
    case Type::kList:
      return "a list of strings";
    case Type::kListOfLists:
      return "a list of lists of strings";
  }
  throw Error("an option has no type");
}

std::string type_name(const Option& option) {
  std::string name;
  if (option.type == Type::kString && !option.words.empty()) {
    for (std::string_view word : option.words)
      name += (name.empty() ? "" : " | ") + std::string(word);
    return name + (option.optional ? " | None" : "");
  }
  switch (option.type) {
    case Type::kBool:
      name = "bool";
      break;
    case Type::kInt:
      name = "int";
      break;
    case Type::kFloat:
      name = "float";
      break;
    case Type::kString:
      name = "str";
      break;
    case Type::kList:
      name = "list";
      break;
    case Type::kListOfLists:
      name = "list of lists";
      break;
  }
  const std::string range = range_phrase(option.range);
  if (!range.empty()) name += ' ' + range;
  return name + (option.optional ? " or None" : "");
}

std::string value_problem(const Option& option, const Value& value) {
  if (const auto* number = std::get_if<std::int64_t>(&value)) {
    return range_problem(option.range, static_cast<double>(*number), value);
  }
  if (const auto* number = std::get_if<double>(&value)) {
    return range_problem(option.range, *number, value);
  }
  if (const auto* text = std::get_if<std::string>(&value)) return word_problem(option, *text);
  if (const auto* list = std::get_if<Strings>(&value)) {
    for (const std::string& element : *list) {
      if (std::string problem = word_problem(option, element); !problem.empty()) return problem;
    }
  }
  return "";
}

bool valid_utf8(std::string_view text) {
  const auto byte = [&](std::size_t i) {
    return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u;
  };
  for (std::size_t i = 0; i < text.size();) {
    const unsigned first = byte(i);
    // Length of the sequence and the smallest code point that needs it.
    const std::size_t length = first < 0x80 ? 1 : first >> 5 == 6 ? 2 : first >> 4 == 14 ? 3 : 4;
    if (length == 4 && first >> 3 != 30) return false;
    constexpr unsigned smallest[] = {0, 0, 0x80, 0x800, 0x10000};
    unsigned point = length == 1 ? first : first & (0x7f >> length);
    for (std::size_t k = 1; k < length; ++k) {
      if (byte(i + k) >> 6 != 2) return false;
      point = point << 6 | (byte(i + k) & 63);
    }
    if (point < smallest[length] || point > 0x10ffff || (point >= 0xd800 && point < 0xe000)) {
      return false;
    }
    i += length;
  }
  return true;
}

}  // namespace titan::config
