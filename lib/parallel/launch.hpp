// How this process was started: its place among those that train together, and where they meet.
// Looked for in this order: torchrun's variables, Open MPI's (mpirun), Hydra's (mpiexec of MPICH
// and Intel MPI), those of a SLURM step (srun); else one process. SLURM comes last, since inside an
// allocation mpirun starts its daemons by srun.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

namespace titan {

struct Launch {
  std::string launcher = {};  // "torchrun", "mpirun", "mpiexec", "srun"; empty: none of them
  int64_t rank = 0;
  int64_t world_size = 1;
  int64_t local_rank = 0;  // among the processes of this host
  int64_t local_world_size = 1;

  // The key-value store through which more than one rank meet: rank 0 serves it on its host, or the
  // launcher does, and then rank 0 is a client as all others.
  std::string store_address = {};  // empty: one rank
  int64_t store_port = 0;
  bool launcher_hosts_store = false;
  std::string store_prefix = {};  // of every key: the job's id, since jobs may share a store

  bool hosts_store() const { return rank == 0 && !launcher_hosts_store; }
};

// The value of an environment variable, or null: std::getenv.
using Environment = std::function<const char*(const char* name)>;

// Throws InputError where a variable is missing, cannot be read or does not fit the others; it says
// what to set.
Launch find_launch(const Environment& environment);

}  // namespace titan
