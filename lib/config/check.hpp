// What the options of a job mean together, and whether this version can do what they ask for. Both
// checks collect every problem before they throw.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "lib/config/schema.hpp"

namespace titan::config {

// Throws InputError that lists each option, with its value and place, that asks for something that
// is not supported yet or has no meaning here, and what to do instead. Returns one line that names
// the options set without effect, or "".
std::string check_supported(const JobConfig& job, std::int64_t world_size = 1,
                            const Origins& origins = {});

// Throws InputError when options contradict each other or the number of ranks. Returns warnings to
// log. Call check_supported first: its messages are the more helpful ones where both apply.
std::vector<std::string> check_consistent(const JobConfig& job, std::int64_t world_size = 1,
                                          const Origins& origins = {});

// What [parallelism] makes of the ranks, data_parallel_shard_degree = -1 being what the other
// degrees leave.
struct Degrees {
  std::int64_t dp_replicate = 1, dp_shard = 1, tp = 1;
};

// Throws InputError when the degrees do not multiply to the world size.
Degrees degrees(const JobConfig& job, std::int64_t world_size);

// The least number of ranks that has the job's degrees.
std::int64_t smallest_world_size(const JobConfig& job);

// Micro-steps per optimizer step of a consistent job.
std::int64_t gradient_accumulation_steps(const JobConfig& job, std::int64_t data_parallel_degree);

}  // namespace titan::config
