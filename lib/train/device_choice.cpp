#include "lib/train/device_choice.hpp"

#include <algorithm>

#include "lib/base/error.hpp"
#include "lib/base/log.hpp"

namespace titan {
namespace {

std::string without_kernels(const ops::Chip& chip) {
  return concat(chip.name, " has compute capability ", chip.major, ".", chip.minor,
                ", but float8 matmuls need 9.0 (H100, H200)");
}

bool linears_in_float8(const JobConfig& job) {
  return std::ranges::find(job.model.converters, "quantize.linear.float8") !=
         job.model.converters.end();
}

}  // namespace

bool runs_on(const std::optional<ops::Chip>& chip, const JobConfig& job) {
  if (!chip) return false;
  if (ops::has_kernels(*chip)) return true;
  if (!linears_in_float8(job)) ops::require_kernels(*chip);
  if (job.quantize.linear.float8.emulate) return true;
  throw InputError(concat(without_kernels(*chip),
                          "; set quantize.linear.float8.emulate = true to compute the same values "
                          "with the reference ops"));
}

ops::Device choose_device(const JobConfig& job, const Launch& launch) {
  // A launcher may show every process a chip of its own (srun --gpus-per-task).
  const bool own_chip = launch.local_rank > 0 && ops::visible_chips() == 1;
  const int index = own_chip ? 0 : static_cast<int>(launch.local_rank);
  if (ops::visible_chips() > 0 && index >= ops::visible_chips()) {
    throw InputError(concat("rank ", launch.rank, ": ", launch.local_world_size,
                            " processes on this host, but ", ops::visible_chips(),
                            " GPUs are visible; start as many (--nproc-per-node), or set "
                            "CUDA_VISIBLE_DEVICES= to run on the CPU"));
  }
  const std::optional<ops::Chip> chip = ops::visible_chip(index);
  if (!runs_on(chip, job)) return ops::Device::cpu();
  if (!ops::has_kernels(*chip)) {
    log::warning(concat(without_kernels(*chip), ": they are emulated, and the reference ops run"));
  }
  return ops::Device::cuda(index);
}

}  // namespace titan
