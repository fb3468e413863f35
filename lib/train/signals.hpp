// SIGTERM and SIGINT: the first asks the run to finish its step, save and end; a second one ends
// the process at once, as if it had never been caught (exit status 128 + n). One from the parent
// process and one from elsewhere are the same request: torchrun passes on a signal that SLURM sends
// to the workers, too.
#pragma once

namespace titan {

// Installs the handlers for the lifetime of the object. One object at a time.
class StopSignals {
 public:
  StopSignals();
  ~StopSignals();
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;

  // The first signal that came, or 0.
  int received() const;
};

}  // namespace titan
