// What a job computes on.
#pragma once

#include <optional>

#include "lib/config/job_config.hpp"
#include "lib/ops/chip.hpp"
#include "lib/ops/device.hpp"
#include "lib/parallel/launch.hpp"

namespace titan {

// Whether there is a chip to run on; if not, the CPU computes. A chip that the kernels are not
// built for runs a job whose float8 is emulated, with the reference ops; for others throws
// InputError.
bool runs_on(const std::optional<ops::Chip>& chip, const JobConfig& job);

// This process's chip, of those that its host shows it, or the CPU. Logs a warning where the
// reference ops run on the chip. Throws InputError where the host has fewer chips than processes.
ops::Device choose_device(const JobConfig& job, const Launch& launch = {});

}  // namespace titan
