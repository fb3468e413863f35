#include "lib/config/help.hpp"

#include <string_view>

#include "lib/base/error.hpp"
#include "lib/config/schema.hpp"
#include "lib/config/value.hpp"

namespace titan::config {

namespace {

constexpr std::size_t kWidth = 100;
constexpr std::size_t kIndent = 8;

// Paragraph text broken at spaces, every line indented.
std::string wrapped(std::string_view text) {
  std::string out;
  std::size_t column = kWidth;  // a full line: the first word opens a new one
  while (!text.empty()) {
    const std::size_t space = std::min(text.find(' '), text.size());
    const std::string_view word = text.substr(0, space);
    if (column + 1 + word.size() > kWidth) {
      if (!out.empty()) out += '\n';
      out.append(kIndent, ' ');
      column = kIndent;
    } else {
      out += ' ';
      ++column;
    }
    out += word;
    column += word.size();
    text.remove_prefix(std::min(space + 1, text.size()));
  }
  return out + '\n';
}

std::string_view phrase(Support support) {
  switch (support) {
    case Support::kCore:
      return "yes";
    case Support::kLater:
      return "not yet";
    case Support::kIgnored:
      return "ignored";
    case Support::kRefused:
      return "refused";
  }
  throw Error("an option has no support state");
}

// "yes", "not yet", "yes; not yet: `memory_budget`", "not yet, with model.converters".
std::string support_summary(const Option& option) {
  std::string out(phrase(option.support));
  if (option.support != Support::kCore && !option.only_with_option.empty()) {
    out += concat(", goes with `", option.only_with_option, "`");
  }
  for (const Limit& limit : option.limits) {
    if (limit.support != Support::kCore) {
      out += concat("; ", phrase(limit.support), ": ", limit.values);
    }
  }
  return out;
}

// A default as people write it on a command line.
std::string default_text(const Option& option) {
  const Value value = option.default_value();
  if (std::holds_alternative<None>(value)) return "None";
  return to_toml_literal(value);
}

std::string joined_names(const std::vector<std::string_view>& names) {
  std::string out;
  for (std::string_view name : names) out += concat(out.empty() ? "`" : ", `", name, "`");
  return out;
}

// `|` separates the columns of a Markdown table.
std::string cell(std::string_view text) {
  std::string out;
  for (const char c : text) out += c == '|' ? std::string("\\|") : std::string(1, c);
  return out;
}

constexpr std::string_view kUsage =
    R"(usage: titan-train [JOB.toml] [--section.option value | --section.option=value ...]

Trains the job of a torchtitan v0.2 job file. Options override the file, the file overrides the
defaults below. In option names - and _ are equal; lists are written a,b; None resets what may be
None; a bool option --a.b needs no value, and --a.no_b switches it off.

  JOB.toml         the job file; --job.config_file does the same
  --dry_run        print the model, its memory, FLOPs and parameters, without data or GPU, and exit
  --world_size N   with --dry_run: plan for N ranks; default: as many as the degrees need
  --print_config   print the final configuration as a job file and exit
  --json           with either: print JSON
  --version        print the version and exit
  -h, --help       print this and exit
)";

constexpr std::string_view kPageIntro =
    R"(# Options

Generated from `lib/config` by `titan_config_docs`; a unit test keeps it current.

A job file is TOML in the schema of torchtitan v0.2.2; `--section.option value` on the command line
overrides it, and it overrides the defaults below. In option names `-` and `_` are equal. A bool option
needs no value (`--compile.enable`, `--compile.no_enable`), a list is written `a,b`, and `None` resets
an option that may be None; in a job file that is the string `"None"`.

The last column says what this version does with values other than the default:
**yes**: they work. **not yet**: a job that needs them ends with exit code 2 and the option's name.
**ignored**: they mean nothing here, and one log line names them. **refused**: they mean nothing here,
and a job that asks for them ends with exit code 2. Options marked * are not torchtitan's.
)";

}  // namespace

std::string help_text() {
  std::string out(kUsage);
  std::string_view section;
  for (const Option& option : options()) {
    if (option.section() != section) {
      section = option.section();
      out += concat("\n[", section, "] ", section_doc(section), "\n");
    }
    out += concat("  --", option.path, " ", type_name(option), "\n");
    std::string doc = concat(option.doc, " Default: ", default_text(option), ".");
    if (option.support != Support::kCore || !option.limits.empty()) {
      doc += concat(" Supported: ", support_summary(option), ".");
    }
    out += wrapped(doc);
  }
  return out;
}

std::string options_page() {
  std::string out(kPageIntro);
  std::string_view section;
  for (const Option& option : options()) {
    if (option.section() != section) {
      section = option.section();
      out += concat("\n## ", section, "\n\n", section_doc(section), ".\n\n",
                    "| option | type | default | meaning | supported |\n",
                    "| --- | --- | --- | --- | --- |\n");
    }
    out += concat("| ", option.key(), option.own ? " *" : "", " | ", cell(type_name(option)),
                  " | `", cell(default_text(option)), "` | ", cell(option.doc), " | ",
                  cell(support_summary(option)), " |\n");
  }
  out +=
      "\n## Older names\n\nThese still work, in job files and as flags. Two "
      "names of one option must not set it differently in the same file or command line.\n\n"
      "| name | now |\n| --- | --- |\n";
  for (const Option& option : options()) {
    if (option.old_names.empty()) continue;
    out += concat("| ", joined_names(option.old_names), " | `", option.path, "` |\n");
  }
  out +=
      "| `float8`, `mx` in `model.converters` | `quantize.linear.*`, and `quantize.grouped_mm.*` "
      "when its `fqns` are given |\n";
  out += "\nThese are read and have no effect:\n\n| name | why |\n| --- | --- |\n";
  for (const DroppedOption& dropped : dropped_options()) {
    out += concat("| `", dropped.path, "` | ", dropped.reason, " |\n");
  }
  return out;
}

}  // namespace titan::config
