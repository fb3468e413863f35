#include "lib/parallel/launch.hpp"

#include <charconv>
#include <cstring>

#include "lib/base/error.hpp"

namespace titan {
namespace {

struct Launcher {
  const char* name;
  const char *rank, *world_size, *local_rank;
};

// srun: of the step. SLURM_NTASKS is also set in the shell of a batch script, which is one process.
constexpr Launcher kLaunchers[] = {
    {"torchrun", "RANK", "WORLD_SIZE", "LOCAL_RANK"},
    {"srun", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID"},
    {"mpirun", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK"},
};

int64_t number(const Environment& environment, const Launcher& launcher, const char* name) {
  const char* text = environment(name);
  if (text == nullptr) {
    throw InputError(concat("environment: ", launcher.world_size, " is set, but ", name,
                            " is not; start many processes with torchrun --no-python, or unset ",
                            launcher.world_size));
  }
  int64_t value = -1;
  const char* end = text + std::strlen(text);
  const auto [stop, status] = std::from_chars(text, end, value);
  if (status != std::errc() || stop != end || value < 0) {
    throw InputError(concat("environment: expected a number in ", name, ", got \"", text, "\""));
  }
  return value;
}

}  // namespace

Launch find_launch(const Environment& environment) {
  for (const Launcher& launcher : kLaunchers) {
    if (environment(launcher.world_size) == nullptr) continue;
    Launch launch{.launcher = launcher.name,
                  .rank = number(environment, launcher, launcher.rank),
                  .world_size = number(environment, launcher, launcher.world_size),
                  .local_rank = number(environment, launcher, launcher.local_rank)};
    if (launch.rank >= launch.world_size || launch.local_rank >= launch.world_size) {
      throw InputError(concat("environment: ", launcher.rank, " = ", launch.rank, " and ",
                              launcher.local_rank, " = ", launch.local_rank, " do not fit ",
                              launcher.world_size, " = ", launch.world_size));
    }
    return launch;
  }
  return {};
}

}  // namespace titan
