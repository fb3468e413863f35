// Times the collectives of a training step between all ranks of a world, on CUDA.
#pragma once

#include <string>
#include <vector>

#include "lib/parallel/world.hpp"

namespace titan {

struct CollectiveTiming {
  std::string name;   // "all_gather bf16"
  std::string by;     // "NCCL", or "copies" as ShardExchange makes them
  int64_t bytes = 0;  // of the larger tensor: the gathered one, the one to be reduced
  double milliseconds = 0;
  double sent_per_second = 0;  // bytes that each rank sends, as a ring does it: (n - 1) / n of
                               // them, twice for all_reduce (what nccl-tests calls busbw)
};

struct CollectiveTimings {
  std::vector<CollectiveTiming> rows;
  std::string why_no_copies;  // empty if there are
};

// From 1 MiB to `largest_mib`, in steps of 4. Collective; medians of 15, of this rank.
CollectiveTimings time_collectives(const ops::Device& device, World& world, int64_t largest_mib);

std::string describe(const CollectiveTimings& timings);

}  // namespace titan
