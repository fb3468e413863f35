// job.dump_folder, which holds what a run writes.
#pragma once

#include "lib/config/job_config.hpp"

namespace titan {

// Makes it where it is not there. Throws InputError where that cannot be.
void make_dump_folder(const JobConfig& job);

}  // namespace titan
