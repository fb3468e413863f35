#include "lib/train/signals.hpp"

#include <csignal>

namespace titan {
namespace {

volatile std::sig_atomic_t first_signal = 0;

void set_handler(void (*handler)(int)) {
  struct sigaction action = {};
  action.sa_handler = handler;
  sigemptyset(&action.sa_mask);
  action.sa_flags = SA_RESTART;
  sigaction(SIGTERM, &action, nullptr);
  sigaction(SIGINT, &action, nullptr);
}

void on_signal(int number) {
  first_signal = number;
  set_handler(SIG_DFL);  // the next one kills
}

}  // namespace

StopSignals::StopSignals() {
  first_signal = 0;
  set_handler(on_signal);
}

StopSignals::~StopSignals() { set_handler(SIG_DFL); }

int StopSignals::received() const { return first_signal; }

}  // namespace titan
