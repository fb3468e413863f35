#include "lib/config/assignments.hpp"

#include <algorithm>

#include "lib/base/error.hpp"
#include "lib/config/value.hpp"

namespace titan::config {

void Reading::throw_errors() const {
  if (errors.empty()) return;
  std::string message;
  for (const std::string& line : errors) message += (message.empty() ? "" : "\n") + line;
  throw InputError(message);
}

void Assignments::set(const Option& option, Value value, std::string_view name,
                      const std::string& where) {
  if (const std::string problem = value_problem(option, value); !problem.empty()) {
    return error(where, name, problem);
  }
  // A flag given again under the same name replaces the earlier one, as anywhere on command lines.
  const auto before = earlier_.find(option.path);
  if (before != earlier_.end() && before->second.name != name && before->second.value != value) {
    return error(where, name,
                 concat("sets ", option.path, " to ", to_toml_literal(value), ", but ",
                        before->second.name, " (", before->second.where, ") has set it to ",
                        to_toml_literal(before->second.value), "; keep one of the two"));
  }
  earlier_[option.path] = {value, std::string(name), where};
  if (name != option.path) {
    reading_.notes.push_back(concat(where, ": ", name, " is an old name, read as ", option.path));
  }
  option.set(reading_.config, value);
  reading_.origins[std::string(option.path)] = where;
}

void Assignments::drop(const DroppedOption& option, const std::string& where) {
  reading_.notes.push_back(
      concat(where, ": ", option.path, " no longer does anything (", option.reason, ")"));
}

void Assignments::error(const std::string& where, std::string_view name, std::string_view problem) {
  reading_.errors.push_back(concat(where, ": ", name, ": ", problem));
}

void expand_old_converters(Reading& reading) {
  const Quantize& quantize = reading.config.quantize;
  Strings expanded;
  const auto add = [&expanded](const char* name) {
    if (std::ranges::find(expanded, name) == expanded.end()) expanded.emplace_back(name);
  };
  for (const std::string& converter : reading.config.model.converters) {
    if (converter == "float8") {
      add("quantize.linear.float8");
      if (!quantize.grouped_mm.float8.fqns.empty()) add("quantize.grouped_mm.float8");
    } else if (converter == "mx") {
      add("quantize.linear.mx");
      if (!quantize.grouped_mm.mx.fqns.empty()) add("quantize.grouped_mm.mx");
    } else {
      expanded.push_back(converter);
      continue;
    }
    reading.notes.push_back(
        concat("model.converters: ", converter, " is an old name, read as quantize.linear.",
               converter, " and, for the experts that are named, quantize.grouped_mm.", converter));
  }
  reading.config.model.converters = std::move(expanded);
}

}  // namespace titan::config
