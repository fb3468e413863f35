// What a job computes on.
#pragma once

#include <optional>

#include "lib/config/job_config.hpp"
#include "lib/ops/chip.hpp"
#include "lib/ops/device.hpp"
#include "lib/parallel/launch.hpp"

namespace titan {

// Whether the job runs on this chip; if not, the reference ops compute on the CPU: where there is
// no chip, and where the kernels do not run on it but the job's float8 is emulated. Throws
// InputError where they do not and it is not.
bool runs_on(const std::optional<ops::Chip>& chip, const JobConfig& job);

// This process's chip, of those that its host shows it, or the CPU. Logs a warning where a visible
// chip is left aside. Throws InputError where the host has fewer chips than processes.
ops::Device choose_device(const JobConfig& job, const Launch& launch = {});

}  // namespace titan
