// Philox4x32 (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3", 2011): 128
// random bits as a pure function of a 128-bit counter and a 64-bit key, for host and device. Ten
// rounds are the authors' default; seven are the fewest that pass all tests of their BigCrush.
#pragma once

#include <cstdint>

#include "kernels/common/host_device.hpp"

namespace titan::kernels {

struct PhiloxBlock {
  uint32_t words[4];
};

template <int kRounds = 10>
TITAN_HOST_DEVICE inline PhiloxBlock philox(PhiloxBlock counter, uint64_t key) {
  uint32_t key_low = static_cast<uint32_t>(key);
  uint32_t key_high = static_cast<uint32_t>(key >> 32);
  for (int round = 0; round < kRounds; ++round) {
    const uint64_t product0 = uint64_t{0xD2511F53u} * counter.words[0];
    const uint64_t product1 = uint64_t{0xCD9E8D57u} * counter.words[2];
    counter = {{static_cast<uint32_t>(product1 >> 32) ^ counter.words[1] ^ key_low,
                static_cast<uint32_t>(product1),
                static_cast<uint32_t>(product0 >> 32) ^ counter.words[3] ^ key_high,
                static_cast<uint32_t>(product0)}};
    key_low += 0x9E3779B9u;
    key_high += 0xBB67AE85u;
  }
  return counter;
}

}  // namespace titan::kernels
