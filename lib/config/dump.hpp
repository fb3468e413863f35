// A configuration written out: as TOML that loads again, as JSON, or only where it differs from the
// defaults.
#pragma once

#include <string>
#include <vector>

#include "lib/config/schema.hpp"

namespace titan::config {

// Every option, by section, but for job.config_file, which names the file that was read. Reads back
// to the same JobConfig. None where it is the default is a comment, since TOML has no word for it;
// elsewhere it is "None".
std::string to_toml(const JobConfig& job);

// Every option as one indented JSON object of sections, for job.print_config and
// job.save_config_file.
std::string to_json(const JobConfig& job);

// "training.steps = 40 (default 10000, job.toml:12:1)" for every option that differs from its
// default.
std::vector<std::string> changed_options(const JobConfig& job, const Origins& origins = {});

}  // namespace titan::config
