// Runs a function on every rank of a world whose ranks are threads, and rethrows what any threw.
#pragma once

#include <ATen/Parallel.h>

#include <cstdlib>
#include <exception>
#include <functional>
#include <thread>
#include <vector>

#include "lib/parallel/world.hpp"

namespace titan::testing {

// While one lives, ranks share no memory: all that they exchange goes through process groups.
class ProcessGroupsOnly {
 public:
  ProcessGroupsOnly() { setenv("NCCL_P2P_DISABLE", "1", /*overwrite=*/1); }
  ~ProcessGroupsOnly() { setenv("NCCL_P2P_DISABLE", "0", 1); }
  ProcessGroupsOnly(const ProcessGroupsOnly&) = delete;
};

inline void on_every_rank(int64_t size, const std::function<void(World&)>& run) {
  std::vector<World> worlds = World::threads(size);
  std::vector<std::exception_ptr> errors(worlds.size());
  std::vector<std::thread> threads;
  for (size_t rank = 0; rank < worlds.size(); ++rank) {
    threads.emplace_back([&, rank] {
      try {
        at::set_num_threads(1);  // the ranks share the cores; waiting helpers would hold them up
        World world = std::move(worlds[rank]);
        run(world);
      } catch (...) {
        errors[rank] = std::current_exception();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const std::exception_ptr& error : errors) {
    if (error) std::rethrow_exception(error);
  }
}

}  // namespace titan::testing
