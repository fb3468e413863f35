// The number that stands for a parameter in counter-based random numbers, from its name alone.
#pragma once

#include <cstdint>
#include <string_view>

namespace titan::ops {

// FNV-1a, 64 bits.
inline uint64_t parameter_stream(std::string_view name) {
  uint64_t result = 0xcbf29ce484222325u;
  for (const char character : name) {
    result = (result ^ static_cast<unsigned char>(character)) * 0x100000001b3u;
  }
  return result;
}

}  // namespace titan::ops
