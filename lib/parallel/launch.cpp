#include "lib/parallel/launch.hpp"

#include <charconv>
#include <limits>

#include "lib/base/error.hpp"
#include "lib/parallel/slurm_lists.hpp"

namespace titan {
namespace {

struct Launcher {
  const char* name;
  const char* mark;  // set by this launcher alone
  const char *rank, *world_size, *local_rank;
  const char* local_world_size;  // srun: a list by node
  const char* remedy;            // for a missing variable
};

constexpr Launcher kTorchrun = {
    "torchrun",
    "RANK",
    "RANK",
    "WORLD_SIZE",
    "LOCAL_RANK",
    "LOCAL_WORLD_SIZE",
    "start with torchrun --no-python, which sets RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE, "
    "MASTER_ADDR and MASTER_PORT, or unset RANK and WORLD_SIZE for a single process"};
constexpr Launcher kOpenMpi = {
    "mpirun",
    "OMPI_COMM_WORLD_RANK",
    "OMPI_COMM_WORLD_RANK",
    "OMPI_COMM_WORLD_SIZE",
    "OMPI_COMM_WORLD_LOCAL_RANK",
    "OMPI_COMM_WORLD_LOCAL_SIZE",
    "name the host of rank 0 and a free port there: mpirun -x MASTER_ADDR=HOST "
    "-x MASTER_PORT=29500 ..."};
constexpr Launcher kHydra = {
    "mpiexec",
    "MPI_LOCALRANKID",
    "PMI_RANK",
    "PMI_SIZE",
    "MPI_LOCALRANKID",
    "MPI_LOCALNRANKS",
    "name the host of rank 0 and a free port there: mpiexec -genv MASTER_ADDR HOST "
    "-genv MASTER_PORT 29500 ..."};
// SLURM_PROCID and SLURM_NTASKS are also set in the shell of a batch script, which is one process.
constexpr Launcher kSrun = {
    "srun",          "SLURM_STEP_NUM_TASKS",      "SLURM_PROCID",   "SLURM_STEP_NUM_TASKS",
    "SLURM_LOCALID", "SLURM_STEP_TASKS_PER_NODE", "start with srun"};

constexpr int64_t kAny = std::numeric_limits<int64_t>::max();

// The environment as one launcher sets it. What is empty counts as not set.
class Variables {
 public:
  Variables(const Environment& environment, const Launcher& launcher)
      : environment_(environment), launcher_(launcher) {}

  bool has(const char* name) const {
    const char* value = environment_(name);
    return value != nullptr && *value != '\0';
  }
  std::string or_else(const char* name, std::string_view otherwise) const {
    return std::string(has(name) ? environment_(name) : otherwise);
  }
  std::string needed(const char* name) const {
    if (has(name)) return environment_(name);
    throw InputError(concat("environment: ", name, " is not set, but this seems to be one of the ",
                            "processes of ", launcher_.name, "; ", launcher_.remedy));
  }
  int64_t number(const char* name, int64_t least, int64_t most = kAny) const {
    const std::string text = needed(name);
    int64_t value = 0;
    const char* end = text.data() + text.size();
    const auto [stop, status] = std::from_chars(text.data(), end, value);
    if (status == std::errc() && stop == end && least <= value && value <= most) return value;
    throw InputError(concat("environment: expected a number of at least ", least,
                            most == kAny ? "" : concat(" and at most ", most), " in ", name,
                            ", got \"", text, "\""));
  }
  int64_t number_or(const char* name, int64_t otherwise) const {
    return has(name) ? number(name, 0) : otherwise;
  }

 private:
  const Environment& environment_;
  const Launcher& launcher_;
};

void check_fit(bool fits, const char* name, int64_t value, const char* other, int64_t other_value) {
  if (fits) return;
  throw InputError(concat("environment: ", name, " = ", value, " does not fit ", other, " = ",
                          other_value, "; start all processes by one launcher"));
}

// Above the ports that Linux gives to outgoing connections. Neighbouring jobs that share a host get
// different ones, and so do the steps of a job.
int64_t port_of_step(const Variables& variables) {
  const auto job = static_cast<uint64_t>(variables.number("SLURM_JOB_ID", 0));
  const auto step = static_cast<uint64_t>(variables.number("SLURM_STEP_ID", 0));
  return static_cast<int64_t>(61440 + (8 * job + step) % 4096);
}

void find_store(const Variables& variables, Launch& launch) {
  const bool slurm = launch.launcher == kSrun.name;
  launch.store_address = slurm && !variables.has("MASTER_ADDR")
                             ? first_host(variables.needed("SLURM_STEP_NODELIST"))
                             : variables.needed("MASTER_ADDR");
  launch.store_port = slurm && !variables.has("MASTER_PORT")
                          ? port_of_step(variables)
                          : variables.number("MASTER_PORT", 1, 65535);
  launch.launcher_hosts_store = variables.or_else("TORCHELASTIC_USE_AGENT_STORE", "") == "True";
}

std::string store_prefix(const Variables& variables, const std::string& launcher) {
  if (launcher == kSrun.name) {
    return concat("slurm_", variables.needed("SLURM_JOB_ID"), ".",
                  variables.needed("SLURM_STEP_ID"));
  }
  return variables.or_else("TORCHELASTIC_RUN_ID", launcher);
}

Launch launched_by(const Launcher& launcher, const Variables& variables) {
  Launch launch;
  launch.launcher = launcher.name;
  launch.rank = variables.number(launcher.rank, 0);
  launch.world_size = variables.number(launcher.world_size, 1);
  launch.local_rank = variables.number(launcher.local_rank, 0);
  launch.local_world_size = launch.launcher == kSrun.name
                                ? tasks_on_node(variables.needed(launcher.local_world_size),
                                                variables.number("SLURM_NODEID", 0))
                                : variables.number(launcher.local_world_size, 1);
  check_fit(launch.rank < launch.world_size, launcher.rank, launch.rank, launcher.world_size,
            launch.world_size);
  check_fit(launch.local_rank < launch.local_world_size, launcher.local_rank, launch.local_rank,
            launcher.local_world_size, launch.local_world_size);
  check_fit(launch.local_world_size <= launch.world_size, launcher.local_world_size,
            launch.local_world_size, launcher.world_size, launch.world_size);
  if (launch.world_size > 1) {
    find_store(variables, launch);
    launch.store_prefix = store_prefix(variables, launch.launcher);
  }
  return launch;
}

}  // namespace

Launch find_launch(const Environment& environment) {
  for (const Launcher& launcher : {kTorchrun, kOpenMpi, kHydra, kSrun}) {
    const Variables variables(environment, launcher);
    if (variables.has(launcher.mark)) return launched_by(launcher, variables);
  }
  const Variables variables(environment, kTorchrun);
  if (variables.number_or("WORLD_SIZE", 1) > 1) variables.needed("RANK");
  return {};
}

}  // namespace titan
