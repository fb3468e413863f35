#include "lib/train/signals.hpp"

#include <unistd.h>

#include <csignal>

namespace titan {
namespace {

volatile std::sig_atomic_t first_signal = 0;
volatile std::sig_atomic_t came_from_parent = 0, came_from_elsewhere = 0;

void set_default() {
  std::signal(SIGTERM, SIG_DFL);
  std::signal(SIGINT, SIG_DFL);
}

void on_signal(int number, siginfo_t* information, void*) {
  if (first_signal == 0) first_signal = number;
  volatile std::sig_atomic_t& came =
      information->si_pid == getppid() ? came_from_parent : came_from_elsewhere;
  if (came == 0) {
    came = 1;
    return;
  }
  set_default();
  std::raise(number);  // arrives when this handler has returned
}

}  // namespace

StopSignals::StopSignals() {
  first_signal = 0;
  came_from_parent = 0;
  came_from_elsewhere = 0;
  struct sigaction action = {};
  action.sa_sigaction = on_signal;
  sigemptyset(&action.sa_mask);
  action.sa_flags = SA_RESTART | SA_SIGINFO;
  sigaction(SIGTERM, &action, nullptr);
  sigaction(SIGINT, &action, nullptr);
}

StopSignals::~StopSignals() { set_default(); }

int StopSignals::received() const { return first_signal; }

}  // namespace titan
