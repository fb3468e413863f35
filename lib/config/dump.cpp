#include "lib/config/dump.hpp"

#include <cmath>
#include <nlohmann/json.hpp>

#include "lib/base/error.hpp"
#include "lib/config/value.hpp"

namespace titan::config {

namespace {

using Json = nlohmann::ordered_json;

struct JsonValue {
  Json operator()(None) const { return nullptr; }
  Json operator()(double value) const {
    // JSON has no infinity.
    return std::isfinite(value) ? Json(value) : Json(to_toml_literal(value));
  }
  template <class T>
  Json operator()(const T& value) const {
    return value;
  }
};

}  // namespace

std::string to_toml(const JobConfig& job) {
  const JobConfig defaults;
  std::string out, section;
  for (const Option& option : options()) {
    if (option.section() != section) {
      section = option.section();
      out += concat(out.empty() ? "" : "\n", "[", section, "]\n");
    }
    if (option.path == "job.config_file") continue;
    const Value value = option.get(job);
    if (std::holds_alternative<None>(value) && value == option.get(defaults)) out += "# ";
    out += concat(option.key(), " = ", to_toml_literal(value), "\n");
  }
  return out;
}

std::string to_json(const JobConfig& job) {
  Json root = Json::object();
  for (const Option& option : options()) {
    Json* table = &root;
    std::string_view path = option.path;
    for (auto dot = path.find('.'); dot != path.npos; dot = path.find('.')) {
      table = &(*table)[std::string(path.substr(0, dot))];
      path.remove_prefix(dot + 1);
    }
    (*table)[std::string(path)] = std::visit(JsonValue{}, option.get(job));
  }
  return root.dump(2);
}

std::vector<std::string> changed_options(const JobConfig& job, const Origins& origins) {
  const JobConfig defaults;
  std::vector<std::string> lines;
  for (const Option& option : options()) {
    const Value value = option.get(job);
    const Value usual = option.get(defaults);
    if (value == usual || option.path == "job.config_file") continue;
    const auto origin = origins.find(option.path);
    lines.push_back(concat(option.path, " = ", to_toml_literal(value), " (default ",
                           to_toml_literal(usual), origin == origins.end() ? "" : ", ",
                           origin == origins.end() ? "" : origin->second, ")"));
  }
  return lines;
}

}  // namespace titan::config
