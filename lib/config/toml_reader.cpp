#include "lib/config/toml_reader.hpp"

#include <algorithm>
#include <sstream>

// Malformed input must end in an exception, not in the library's assertions.
#define TOML_ASSERT(condition) static_cast<void>(0)
#define TOML_EXCEPTIONS 1
#define TOML_HEADER_ONLY 1
#include <toml++/toml.h>

#include "lib/base/error.hpp"
#include "lib/base/file.hpp"
#include "lib/config/suggest.hpp"
#include "lib/config/value.hpp"

namespace titan::config {

namespace {

// Far above any job file. A dot may nest one more table, and the parser recurses through them: so
// many levels still fit on the stack.
constexpr std::size_t kMaxBytes = 1 << 20;
constexpr std::ptrdiff_t kMaxDots = 4000;

std::string place(std::string_view file, const toml::source_region& region) {
  return concat(file, ":", region.begin.line, ":", region.begin.column);
}

// "a string \"x\"", "a table", ...
std::string found_phrase(const toml::node& node) {
  std::ostringstream out;
  out << std::boolalpha;
  switch (node.type()) {
    case toml::node_type::string:
      out << "a string ";
      break;
    case toml::node_type::integer:
      out << "an integer ";
      break;
    case toml::node_type::floating_point:
      out << "a float ";
      break;
    case toml::node_type::boolean:
      out << "a bool ";
      break;
    case toml::node_type::array:
      return "an array";
    case toml::node_type::table:
      return "a table";
    default:
      return "a date or time";
  }
  node.visit([&out](const auto& value) {
    if constexpr (toml::is_string<decltype(value)>) {
      out << to_toml_literal(value.get());
    } else if constexpr (toml::is_value<decltype(value)>) {
      out << value.get();
    }
  });
  return out.str();
}

std::optional<Strings> strings_of(const toml::array& array) {
  Strings list;
  for (const toml::node& element : array) {
    if (!element.is_string()) return std::nullopt;
    list.push_back(element.as_string()->get());
  }
  return list;
}

std::optional<std::vector<Strings>> lists_of(const toml::array& array) {
  std::vector<Strings> lists;
  for (const toml::node& element : array) {
    auto list = element.is_array() ? strings_of(*element.as_array()) : std::nullopt;
    if (!list) return std::nullopt;
    lists.push_back(std::move(*list));
  }
  return lists;
}

// The node as a value of the option's type, or nothing.
std::optional<Value> value_of(const toml::node& node, const Option& option) {
  if (option.optional && node.is_string() && node.as_string()->get() == "None") return None{};
  const toml::array* array = node.as_array();
  switch (option.type) {
    case Type::kBool:
      if (node.is_boolean()) return node.as_boolean()->get();
      break;
    case Type::kInt:
      if (node.is_integer()) return node.as_integer()->get();
      break;
    case Type::kFloat:
      if (node.is_number()) return *node.value<double>();
      break;
    case Type::kString:
      if (node.is_string()) return node.as_string()->get();
      break;
    case Type::kList:
      if (option.comma_string && node.is_string()) return split_commas(node.as_string()->get());
      if (array != nullptr) {
        if (auto list = strings_of(*array)) return *list;
      }
      break;
    case Type::kListOfLists:
      if (array != nullptr) {
        if (auto lists = lists_of(*array)) return *lists;
      }
      break;
  }
  return std::nullopt;
}

// "; write \"2\"" where the fix of a wrong type is only a matter of writing.
std::string hint(const toml::node& node, const Option& option) {
  if (option.type == Type::kString && node.is_integer()) {
    return concat("; write \"", node.as_integer()->get(), "\"");
  }
  if (option.type == Type::kList && node.is_string()) {
    return concat("; write ", to_toml_literal(split_commas(node.as_string()->get())));
  }
  return "";
}

class TableReader {
 public:
  TableReader(std::string_view file, Reading& reading) : file_(file), assignments_(reading) {}

  void read(const toml::table& table, const std::string& prefix) {
    for (const auto& [key, node] : table) {
      const std::string path = prefix + std::string(key.str());
      const std::string where = place(file_, key.source());
      if (is_section(path)) {
        if (const toml::table* section = node.as_table()) {
          read(*section, path + ".");
        } else {
          assignments_.error(where, path, "is a section: write [" + path + "]");
        }
      } else if (const Option* option = find_any_spelling(path)) {
        set(*option, node, path, where);
      } else if (const DroppedOption* dropped = find_dropped(path)) {
        assignments_.drop(*dropped, where);
      } else if (node.is_table()) {
        assignments_.error(where, path, "unknown section" + did_you_mean_section(path));
      } else {
        assignments_.error(where, path, "unknown option" + did_you_mean_option(path));
      }
    }
  }

 private:
  void set(const Option& option, const toml::node& node, const std::string& path,
           const std::string& where) {
    if (auto value = value_of(node, option)) {
      assignments_.set(option, std::move(*value), path, where);
    } else {
      assignments_.error(where, path,
                         concat("expected ", type_phrase(option.type), ", got ", found_phrase(node),
                                hint(node, option)));
    }
  }

  std::string_view file_;
  Assignments assignments_;
};

// What the parser might not survive; empty when there is nothing.
std::string unreadable(std::string_view text, std::string_view name) {
  if (text.size() > kMaxBytes || std::ranges::count(text, '.') > kMaxDots) {
    return concat(name, ": is larger than any job file (over ", kMaxBytes, " bytes or ", kMaxDots,
                  " dots); is it another file?");
  }
  std::size_t line = 1;
  for (std::size_t begin = 0; begin < text.size(); ++line) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    if (!valid_utf8(text.substr(begin, end - begin))) {
      return concat(name, ":", line, ": is not valid UTF-8");
    }
    begin = end + 1;
  }
  return "";
}

}  // namespace

void read_toml(std::string_view text, std::string_view name, Reading& reading) {
  if (std::string problem = unreadable(text, name); !problem.empty()) {
    reading.errors.push_back(std::move(problem));
    return;
  }
  try {
    const toml::table table = toml::parse(text, name);
    TableReader(name, reading).read(table, "");
  } catch (const toml::parse_error& error) {
    reading.errors.push_back(concat(place(name, error.source()), ": ", error.description()));
  }
}

void read_toml_file(const std::filesystem::path& path, Reading& reading) {
  try {
    read_toml(read_file(path), path.string(), reading);
  } catch (const InputError& error) {
    reading.errors.emplace_back(error.what());
  }
}

JobConfig parse_toml(std::string_view text, std::string_view name) {
  Reading reading;
  read_toml(text, name, reading);
  reading.throw_errors();
  expand_old_converters(reading);
  return reading.config;
}

std::optional<Value> parse_list_of_lists(std::string_view text) {
  if (!unreadable(text, "").empty()) return std::nullopt;
  try {
    const toml::table table = toml::parse(concat("value = ", text));
    const toml::array* array = table["value"].as_array();
    if (array == nullptr || table.size() != 1) return std::nullopt;
    if (auto lists = lists_of(*array)) return *lists;
  } catch (const toml::parse_error&) {  // no TOML literal
  }
  return std::nullopt;
}

}  // namespace titan::config
