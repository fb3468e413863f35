// Whether all ranks were given the same job, or the same of something else.
#pragma once

#include <span>
#include <string>

namespace titan::config {

// jobs[rank] is to_json of that rank's job. Returns "" where they agree, else a message that names
// the first options that differ, with their values and the ranks that have them. job.config_file
// may differ: what counts is what the file says. Throws Error for what is not the JSON of a job.
std::string describe_differences(std::span<const std::string> jobs);

// The same for any JSON tables, as the lines of such a message: "\n  key: 1 on rank 0, 2 on rank
// 1".
std::string list_differences(std::span<const std::string> tables);

}  // namespace titan::config
