// titan-train's command line: a job file, options over it, and what to do with the result.
//   titan-train [JOB.toml] [--section.option value | --section.option=value ...]
// Options override the file, the file overrides the defaults. `-` and `_` are equal in option
// names. A bool option takes no argument (--compile.enable, --compile.no_enable) or one after `=`.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lib/config/schema.hpp"

namespace titan::config {

enum class Mode { kTrain, kPrintConfig, kDryRun, kHelp, kVersion };

struct CommandLine {
  JobConfig config;
  Origins origins;                 // of every option that was set
  std::vector<std::string> notes;  // to log: old names in use and the like
  Mode mode = Mode::kTrain;
  bool json = false;                       // --json, with --dry_run or --print_config
  std::optional<std::int64_t> world_size;  // --world_size, with --dry_run
};

// Reads the arguments (without the program's name) and the job file they name. --help and --version
// win over everything else. Throws InputError with every problem found, one a line. What the values
// mean together is not looked at here: see check.hpp.
CommandLine parse_command_line(std::span<const std::string_view> arguments);
CommandLine parse_command_line(int argc, const char* const* argv);

}  // namespace titan::config
