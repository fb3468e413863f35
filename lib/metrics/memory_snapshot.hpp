// Snapshots of the CUDA caching allocator for PyTorch's memory viewer (pytorch.org/memory_viz),
// with the C++ stack of each allocation:
//   {folder}/iteration_N/rankR_memory_snapshot.pickle       after each freq-th step
//   {folder}/iteration_N_exit/rankR_memory_snapshot.pickle  when memory ran out after step N
// Recording slows allocations down. Failing to write is a warning, never an error. The allocator's
// history is one per process, so there is one object of this class at a time.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>

#include "lib/metrics/memory.hpp"

namespace titan {

class MemorySnapshots {
 public:
  struct Config {
    bool enable = false;
    std::filesystem::path folder;  // {dump_folder}/{save_memory_snapshot_folder}
    int64_t freq = 10;             // profiling.profile_freq
    int rank = 0;
    int cuda_device = kNoCudaDevice;  // without one, enabling is a warning and nothing else
  };

  // Starts the history and installs the out-of-memory observer. completed_steps: 0, or the step
  // that the run resumes from.
  explicit MemorySnapshots(Config config, int64_t completed_steps = 0);
  MemorySnapshots(const MemorySnapshots&) = delete;
  MemorySnapshots& operator=(const MemorySnapshots&) = delete;
  ~MemorySnapshots();

  // Call after each step.
  void step(int64_t completed_steps);

 private:
  struct Recording;
  std::shared_ptr<Recording> recording_;  // shared with the observer, which cannot be taken back
};

}  // namespace titan
