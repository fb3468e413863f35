// The description of every option, from which TOML reading, flags, --help, dumps, checks and
// docs/options.md are all made: an Option is a path, a way to read and write its member of
// JobConfig, one line of meaning, the allowed values and what this version does with it. The table
// is built once and never changes; reading it is safe from any thread.
#pragma once

#include <functional>
#include <initializer_list>
#include <limits>
#include <map>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "lib/config/job_config.hpp"
#include "lib/config/support.hpp"

namespace titan::config {

struct None {
  bool operator==(const None&) const = default;
};

// Any option's value. Enums travel as their words.
using Value =
    std::variant<None, bool, std::int64_t, double, std::string, Strings, std::vector<Strings>>;

enum class Type { kBool, kInt, kFloat, kString, kList, kListOfLists };

// Allowed numbers: low to high, without the ends that are open. NaN is never allowed.
struct Range {
  double low = std::numeric_limits<double>::lowest();
  double high = std::numeric_limits<double>::max();
  bool open_low = false;
  bool open_high = false;
};

// Whether a job asks for something, given the number of ranks that would run it.
using Condition = bool (*)(const JobConfig& job, std::int64_t world_size);

// Some values of an otherwise supported option: refused or ignored when `asked` holds.
struct Limit {
  Support support = Support::kCore;
  std::string_view values;  // for the docs, as in "`memory_budget`"
  Condition asked = nullptr;
  std::string_view remedy;  // "" : go back to the default
};

struct Option {
  std::string_view path;  // "training.steps"
  std::string_view doc;
  Support support = Support::kCore;  // of any value other than the default
  Type type = Type::kBool;
  bool optional = false;
  bool comma_string = false;  // a list that a job file may also write as one comma-separated string
  bool own = false;           // not an option of torchtitan
  Range range;
  std::vector<std::string_view> words;  // allowed strings or list elements; empty: any
  std::vector<std::string_view> old_names;
  Condition asked = nullptr;          // null: always, when the value is not the default
  std::string_view only_with_option;  // the option that turns its feature on: that one is refused
  std::string_view remedy;
  std::vector<Limit> limits;
  std::function<Value(const JobConfig&)> get;
  std::function<void(JobConfig&, const Value&)> set;  // the value has the option's type

  std::string_view section() const { return path.substr(0, path.rfind('.')); }
  std::string_view key() const { return path.substr(path.rfind('.') + 1); }
  Value default_value() const { return get(JobConfig{}); }

  // For the tables: each returns the changed option.
  Option at_least(double low) &&;
  Option above(double low) &&;  // up to infinity
  Option between(double low, double high) &&;
  Option below_one() &&;  // 0 <= x < 1
  Option one_of(std::initializer_list<std::string_view> allowed) &&;
  Option formerly(std::initializer_list<std::string_view> names) &&;
  Option or_string() &&;
  Option ours() &&;
  Option when(Condition condition) &&;
  Option only_with(std::string_view feature_option) &&;
  Option instead(std::string_view remedy) &&;
  Option limit(Support support, std::string_view values, Condition condition,
               std::string_view remedy = "") &&;
};

// Keys of older job files that no longer do anything: read, noted, dropped.
struct DroppedOption {
  std::string_view path;
  Type type;
  std::string_view reason;
};

// All options, in the order of the sections.
const std::vector<Option>& options();
const std::vector<DroppedOption>& dropped_options();

// By present name, by present or old name, or null.
const Option* find_option(std::string_view path);
const Option* find_any_spelling(std::string_view path);
const DroppedOption* find_dropped(std::string_view path);

// Whether some option, of any spelling, lies in this section ("quantize.linear") or below it.
bool is_section(std::string_view path);

// One line on what a section is for.
std::string_view section_doc(std::string_view section);

// Where a value was set, by option path: "job.toml:12:9" or "command line".
using Origins = std::map<std::string, std::string, std::less<>>;

}  // namespace titan::config
