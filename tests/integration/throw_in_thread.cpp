// Preloaded into a program, throws in a thread of its own once main has set its terminate handler,
// as NCCL's watchdog does when a collective hangs.
#include <chrono>
#include <exception>
#include <stdexcept>
#include <thread>

namespace {

struct Thrower {
  Thrower() {
    std::thread([usual = std::get_terminate()] {
      while (std::get_terminate() == usual) {
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
      }
      throw std::runtime_error("the thread's own reason");
    }).detach();
  }
};

const Thrower thrower;

}  // namespace
