// What a rank sees of another one's end.
#pragma once

#include <c10/util/Exception.h>

#include <utility>

#include "lib/base/error.hpp"

namespace titan {

// Ranks could not exchange something, since another one has ended or does not answer. Why it does
// not, that rank knows; see EndReason.
class PeerError : public Error {
 public:
  using Error::Error;
};

// Calls what waits for other ranks: what it throws comes out as PeerError.
template <class Wait>
auto among_peers(const Wait& wait) {
  try {
    return wait();
  } catch (const c10::Error& error) {
    throw PeerError(error.what_without_backtrace());
  } catch (const std::exception& error) {
    throw PeerError(error.what());
  }
}

}  // namespace titan
