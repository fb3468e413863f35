// The scale of a row or column of float8 e4m3 values from its amax, in integer arithmetic.
#pragma once

#include <bit>
#include <cstdint>

#include "kernels/common/host_device.hpp"

namespace titan::kernels {

struct Float8Scale {
  float scale;    // values are multiplied by it and cast
  float inverse;  // 1 / scale, exactly
};

// 2^floor(log2(448 / max(amax, 1e-12))). `amax` is given by its bits, which order like the values
// of non-negative floats, NaN above infinity. Infinity: scale 0; NaN: both NaN.
TITAN_HOST_DEVICE inline Float8Scale float8_scale(uint32_t amax) {
  constexpr uint32_t kInfinity = 0x7f800000;
  constexpr uint32_t kSmallest = std::bit_cast<uint32_t>(1e-12f);
  if (amax >= kInfinity) {
    const float inverse = std::bit_cast<float>(amax);
    return {1.0f / inverse, inverse};
  }
  if (amax < kSmallest) amax = kSmallest;
  // amax = m · 2^e with 1 <= m < 2, and 448 = 1.75 · 2^8: the exponent of the quotient is 8 - e,
  // and 7 - e where m > 1.75. The addend carries into the exponent just there.
  constexpr uint32_t kMantissaOf175 = 0x600000;
  const uint32_t exponent = (amax + (0x7fffff - kMantissaOf175)) >> 23;
  return {std::bit_cast<float>((127 + 8 + 127 - exponent) << 23),
          std::bit_cast<float>((exponent - 8) << 23)};
}

}  // namespace titan::kernels
