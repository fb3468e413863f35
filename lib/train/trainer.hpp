// The loop: reads batches, takes steps, logs, validates, saves, and ends cleanly. The only place
// that knows of steps, checkpoints, logging and signals together.
#pragma once

#include <memory>

#include "lib/config/job_config.hpp"
#include "lib/ops/device.hpp"
#include "lib/parallel/world.hpp"

namespace titan {

class Trainer {
 public:
  // Builds the model, loads a checkpoint where there is one, opens the data: on every rank of the
  // world. `job` and `world` outlive the trainer. Throws InputError on what the user can correct.
  Trainer(const JobConfig& job, ops::Device device, World& world);
  ~Trainer();

  // Trains until training.steps, the end of finite data, or a signal. Throws Error when training
  // cannot go on (ten non-finite steps in a row, a data file that breaks off, memory).
  void run();

  // Whether the first step has been entered: from then on a failure is a failure of the run.
  bool started() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace titan
