#include "lib/config/command_line.hpp"

#include <algorithm>
#include <optional>
#include <set>

#include "lib/base/error.hpp"
#include "lib/config/assignments.hpp"
#include "lib/config/suggest.hpp"
#include "lib/config/toml_reader.hpp"
#include "lib/config/value.hpp"

namespace titan::config {

namespace {

constexpr std::string_view kWhere = "command line";
constexpr std::int64_t kMaxWorldSize = 1'000'000;  // products with batches stay far from overflow

// Options in the order given; the job file has to be read before they are applied.
struct Setting {
  const Option* option;
  Value value;
  std::string name;
};

class ArgumentReader {
 public:
  explicit ArgumentReader(std::span<const std::string_view> arguments) : rest_(arguments) {}

  CommandLine read() {
    while (!rest_.empty()) {
      const std::string_view argument = take();
      if (argument == "-h") {
        modes_.insert(Mode::kHelp);
      } else if (argument.starts_with("--") && argument.size() > 2) {
        read_flag(argument.substr(2));
      } else if (argument.starts_with("-")) {
        error(argument, "unknown argument; options look like --section.option value");
      } else {
        read_positional(argument);
      }
    }
    for (const Mode mode : {Mode::kHelp, Mode::kVersion}) {
      if (!modes_.contains(mode)) continue;
      CommandLine told;
      told.mode = mode;
      return told;
    }
    check_modes();
    return apply();
  }

 private:
  std::string_view take() {
    const std::string_view argument = rest_.front();
    rest_ = rest_.subspan(1);
    return argument;
  }

  void error(std::string_view argument, std::string_view problem) {
    reading_.errors.push_back(concat(kWhere, ": ", argument, ": ", problem));
  }

  void read_positional(std::string_view argument) {
    if (argument == "true" || argument == "false") {
      return error(argument,
                   "a bool option takes no argument: write --section.option, "
                   "--section.no_option or --section.option=" +
                       std::string(argument));
    }
    settings_.push_back({find_option("job.config_file"), std::string(argument), "job.config_file"});
  }

  void read_flag(std::string_view text) {
    const auto equals = text.find('=');
    std::string name(text.substr(0, equals));
    std::ranges::replace(name, '-', '_');
    std::optional<std::string_view> value;
    if (equals != text.npos) value = text.substr(equals + 1);

    if (read_mode(name, value)) return;
    if (const Option* option = find_any_spelling(name)) return read_option(*option, name, value);
    if (const DroppedOption* dropped = find_dropped(name)) {
      if (dropped->type != Type::kBool && !value && !rest_.empty()) take();
      dropped_.push_back(dropped);
      return;
    }
    if (read_negated(name, value)) return;
    error("--" + name, "unknown option" + suggestion(name));
    if (!value && !rest_.empty() && !rest_.front().starts_with("--")) take();  // its value
  }

  // --print_config and the like. False when `name` is none of them.
  bool read_mode(const std::string& name, std::optional<std::string_view> value) {
    if (name == "world_size") {
      if (!value && !rest_.empty()) value = take();
      const auto parsed = parse_argument(Type::kInt, false, value.value_or("")).value;
      world_size_ = parsed ? std::get<std::int64_t>(*parsed) : 0;
      if (*world_size_ < 1 || *world_size_ > kMaxWorldSize) {
        error("--world_size", concat("expected a number of ranks from 1 to ", kMaxWorldSize));
      }
      return true;
    }
    if (name == "json") {
      json_ = true;
    } else if (name == "help") {
      modes_.insert(Mode::kHelp);
    } else if (name == "version") {
      modes_.insert(Mode::kVersion);
    } else if (name == "print_config") {
      modes_.insert(Mode::kPrintConfig);
    } else if (name == "dry_run") {
      modes_.insert(Mode::kDryRun);
    } else {
      return false;
    }
    if (value) error("--" + name, "takes no argument");
    return true;
  }

  void read_option(const Option& option, const std::string& name,
                   std::optional<std::string_view> value) {
    if (!value && option.type == Type::kBool) value = "true";
    if (!value) {
      if (rest_.empty() || rest_.front().starts_with("--")) {
        return error("--" + name, concat("needs a value, ", type_phrase(option.type)));
      }
      value = take();
    }
    if (!valid_utf8(*value)) return error("--" + name, "the value is not valid UTF-8");
    ParsedValue parsed = parse_argument(option.type, option.optional, *value);
    if (!parsed.value) {
      return error("--" + name, concat("expected ", parsed.expected, ", got ",
                                       to_toml_literal(std::string(*value))));
    }
    settings_.push_back({&option, std::move(*parsed.value), name});
  }

  // --compile.no_enable. False when `name` is not the negation of a bool option.
  bool read_negated(const std::string& name, std::optional<std::string_view> value) {
    const auto key = name.rfind('.') + 1;
    if (name.compare(key, 3, "no_") != 0) return false;
    const std::string plain = name.substr(0, key) + name.substr(key + 3);
    const Option* option = find_any_spelling(plain);
    if (option == nullptr || option->type != Type::kBool) return false;
    if (value) {
      error("--" + name, "takes no argument");
    } else {
      settings_.push_back({option, false, plain});
    }
    return true;
  }

  static std::string suggestion(const std::string& name) {
    if (name.find('.') != name.npos) return did_you_mean_option(name);
    constexpr std::string_view modes[] = {"help",    "version", "print_config",
                                          "dry_run", "json",    "world_size"};
    const std::string_view mode = nearest(name, modes);
    return mode.empty() ? did_you_mean_option(name) : "; did you mean --" + std::string(mode) + "?";
  }

  void check_modes() {
    const bool dry_run = modes_.contains(Mode::kDryRun);
    if (modes_.size() > 1) error("--dry_run", "and --print_config exclude each other");
    if (json_ && modes_.empty()) error("--json", "goes with --dry_run or --print_config");
    if (world_size_ && !dry_run) {
      error("--world_size", "goes with --dry_run; in a run, WORLD_SIZE in the environment says it");
    }
  }

  CommandLine apply() {
    std::optional<std::string> file;
    for (const Setting& setting : settings_) {
      if (setting.option->path != "job.config_file") continue;
      const auto* path = std::get_if<std::string>(&setting.value);
      if (path == nullptr) continue;
      if (file && *file != *path) error(*path, "is a second job file, after " + *file);
      file = *path;
    }
    if (file) {
      read_toml_file(*file, reading_);
    } else {
      reading_.notes.push_back("no job file given: every option starts from its default");
    }
    Assignments assignments(reading_);
    for (Setting& setting : settings_) {
      assignments.set(*setting.option, std::move(setting.value), setting.name, std::string(kWhere));
    }
    for (const DroppedOption* dropped : dropped_) assignments.drop(*dropped, std::string(kWhere));
    reading_.config.job.config_file = file;  // a job file does not name itself
    reading_.throw_errors();
    expand_old_converters(reading_);
    return {.config = std::move(reading_.config),
            .origins = std::move(reading_.origins),
            .notes = std::move(reading_.notes),
            .mode = modes_.empty() ? Mode::kTrain : *modes_.begin(),
            .json = json_,
            .world_size = world_size_};
  }

  std::span<const std::string_view> rest_;
  Reading reading_;
  std::vector<Setting> settings_;
  std::vector<const DroppedOption*> dropped_;
  std::set<Mode> modes_;
  bool json_ = false;
  std::optional<std::int64_t> world_size_;
};

}  // namespace

CommandLine parse_command_line(std::span<const std::string_view> arguments) {
  return ArgumentReader(arguments).read();
}

CommandLine parse_command_line(int argc, const char* const* argv) {
  const std::vector<std::string_view> arguments(argv + std::min(argc, 1), argv + argc);
  return parse_command_line(arguments);
}

}  // namespace titan::config
