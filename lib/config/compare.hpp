// Whether all ranks were given the same job.
#pragma once

#include <span>
#include <string>

namespace titan::config {

// jobs[rank] is to_json of that rank's job. Returns "" where they agree, else a message that names
// the first options that differ, with their values and the ranks that have them. job.config_file
// may differ: what counts is what the file says. Throws Error for what is not the JSON of a job.
std::string describe_differences(std::span<const std::string> jobs);

}  // namespace titan::config
