// Errors as part of the interface. Every message says what was wrong, where, what was expected and
// what to do; it prints without a stack trace. Nothing below apps/ ends the process itself.
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>

namespace titan {

// Anything that fails while running: exit code 1.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// Configuration, arguments or input files that a user can correct: exit code 2 when found before
// the first step, 1 afterwards.
class InputError : public Error {
 public:
  using Error::Error;
};

// concat("K = ", 17, " is odd") == "K = 17 is odd". Bools print as 0 and 1.
template <class... Parts>
std::string concat(const Parts&... parts) {
  std::ostringstream out;
  (out << ... << parts);
  return std::move(out).str();
}

}  // namespace titan

// Throws titan::Error with the message made of the remaining arguments unless the condition holds.
// For broken invariants of our own code and failed calls; user input throws InputError by name.
#define TITAN_CHECK(condition, ...)                                       \
  do {                                                                    \
    if (!(condition)) throw ::titan::Error(::titan::concat(__VA_ARGS__)); \
  } while (false)
