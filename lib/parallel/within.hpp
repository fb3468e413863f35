// Calls that may never return: those to a server on a host that hangs.
#pragma once

#include <chrono>
#include <future>
#include <thread>
#include <utility>

#include "lib/base/error.hpp"

namespace titan {

// Runs `call` in a thread of its own and gives its result. Throws Error when there is none within
// the limit; the thread then goes on, so that `call` must own all that it uses.
template <class Call>
auto within(std::chrono::milliseconds limit, Call call) {
  std::packaged_task<decltype(call())()> task(std::move(call));
  auto result = task.get_future();
  std::thread(std::move(task)).detach();
  if (result.wait_for(limit) != std::future_status::ready) throw Error("there is no answer");
  return result.get();
}

}  // namespace titan
