#include "lib/data/fingerprint.hpp"

#include <xxhash.h>

#include <cinttypes>
#include <cstdio>

namespace titan::data {

// Lengths go in first, so that {"ab", "c"} and {"a", "bc"} differ.
Fingerprint& Fingerprint::add(std::string_view text) {
  values_ += std::to_string(text.size()) + ':';
  values_ += text;
  return *this;
}

Fingerprint& Fingerprint::add(int64_t number) { return add(std::to_string(number)); }

std::string Fingerprint::hex() const {
  XXH128_hash_t hash = XXH3_128bits(values_.data(), values_.size());
  char text[33];
  std::snprintf(text, sizeof text, "%016" PRIx64 "%016" PRIx64, hash.high64, hash.low64);
  return text;
}

}  // namespace titan::data
