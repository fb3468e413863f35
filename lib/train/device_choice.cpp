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
  if (job.quantize.linear.float8.emulate) return false;
  throw InputError(concat(without_kernels(*chip),
                          "; set quantize.linear.float8.emulate = true to compute the same values "
                          "with the reference ops on the CPU"));
}

ops::Device choose_device(const JobConfig& job) {
  const std::optional<ops::Chip> chip = ops::visible_chip();
  if (runs_on(chip, job)) return ops::Device::cuda(0);
  if (chip) {
    log::warning(
        concat(without_kernels(*chip), ": they are emulated, with the reference ops on the CPU"));
  }
  return ops::Device::cpu();
}

}  // namespace titan
