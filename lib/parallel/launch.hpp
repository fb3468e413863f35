// How this process was started: its place among those that train together. Looked for in this
// order: torchrun's variables, those of a SLURM step (srun), Open MPI's (mpirun); else one process.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

namespace titan {

struct Launch {
  std::string launcher;  // "torchrun", "srun", "mpirun"; empty: none of them
  int64_t rank = 0;
  int64_t world_size = 1;
  int64_t local_rank = 0;  // among the processes of this host
  int64_t local_world_size = 1;

  // The key-value store through which the ranks meet.
  std::string store_address = {};
  int64_t store_port = 0;
  bool launcher_hosts_store = false;  // else rank 0 does
  std::string store_prefix = {};      // of this attempt's keys: torchrun's restarts share the store
};

// The value of an environment variable, or null: std::getenv.
using Environment = std::function<const char*(const char* name)>;

// Throws InputError where a variable is missing, is no number, or does not fit the others.
Launch find_launch(const Environment& environment);

}  // namespace titan
