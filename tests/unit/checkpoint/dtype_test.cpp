#include "lib/checkpoint/dtype.hpp"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "lib/base/error.hpp"

namespace titan {
namespace {

template <class Out, class In>
Out converted(Dtype from, In value, Dtype to) {
  Out out;
  convert(from, std::as_bytes(std::span(&value, 1)), to,
          std::as_writable_bytes(std::span(&out, 1)));
  return out;
}

float widen(Dtype from, uint16_t bits) { return converted<float>(from, bits, Dtype::kFloat32); }
uint16_t narrow(float value, Dtype to) { return converted<uint16_t>(Dtype::kFloat32, value, to); }

// The value of 16 bits by the definition of the format.
double value_by_definition(uint16_t bits, int mantissa_bits, int bias) {
  int exponent = (bits & 0x7fff) >> mantissa_bits;
  double mantissa = bits & ((1 << mantissa_bits) - 1);
  double one = 1 << mantissa_bits;
  double magnitude = exponent == 0 ? std::ldexp(mantissa / one, 1 - bias)
                                   : std::ldexp(1 + mantissa / one, exponent - bias);
  return bits & 0x8000 ? -magnitude : magnitude;
}

struct Format {
  Dtype dtype;
  int mantissa_bits;
  int bias;
  uint16_t infinity;
};
constexpr Format kFormats[] = {{Dtype::kFloat16, 10, 15, 0x7c00},
                               {Dtype::kBfloat16, 7, 127, 0x7f80}};

TEST(Dtype, EveryFiniteHalfWidensToItsValueAndComesBack) {
  for (const Format& format : kFormats) {
    for (uint32_t bits = 0; bits < 0x10000; ++bits) {
      auto half = static_cast<uint16_t>(bits);
      if ((half & 0x7fff) >= format.infinity) continue;
      float value = widen(format.dtype, half);
      ASSERT_EQ(value, value_by_definition(half, format.mantissa_bits, format.bias)) << bits;
      ASSERT_EQ(narrow(value, format.dtype), half);
    }
  }
}

TEST(Dtype, NarrowingTakesTheNearestWithTiesToEven) {
  // Around each pair of neighbours: just below the middle, the middle, just above.
  for (const Format& format : kFormats) {
    for (uint16_t low = 0; low + 1 < format.infinity; ++low) {
      double a = value_by_definition(low, format.mantissa_bits, format.bias);
      double b =
          value_by_definition(static_cast<uint16_t>(low + 1), format.mantissa_bits, format.bias);
      auto middle = static_cast<float>((a + b) / 2);
      ASSERT_EQ(middle, (a + b) / 2);  // exact in float32
      uint16_t even = low % 2 == 0 ? low : static_cast<uint16_t>(low + 1);
      ASSERT_EQ(narrow(middle, format.dtype), even) << low;
      ASSERT_EQ(narrow(std::nextafter(middle, 0.0f), format.dtype), low);
      ASSERT_EQ(narrow(std::nextafter(middle, INFINITY), format.dtype), low + 1);
      ASSERT_EQ(narrow(-middle, format.dtype), even | 0x8000);
    }
  }
}

TEST(Dtype, InfinityAndNanStayWhatTheyAre) {
  for (const Format& format : kFormats) {
    EXPECT_EQ(narrow(INFINITY, format.dtype), format.infinity);
    EXPECT_EQ(narrow(-std::numeric_limits<float>::max(), format.dtype), format.infinity | 0x8000);
    EXPECT_EQ(widen(format.dtype, format.infinity), INFINITY);
    // All payloads, those whose upper bits are zero too.
    for (uint32_t bits : {0x7f800001u, 0x7fffffffu, 0xff800001u, 0x7fc00000u}) {
      EXPECT_TRUE(
          std::isnan(widen(format.dtype, narrow(std::bit_cast<float>(bits), format.dtype))));
    }
  }
}

TEST(Dtype, BetweenTheHalvesGoesThroughFloat) {
  EXPECT_EQ(converted<uint16_t>(Dtype::kBfloat16, uint16_t{0x3f80}, Dtype::kFloat16), 0x3c00);
  EXPECT_EQ(converted<uint16_t>(Dtype::kFloat16, uint16_t{0xbc00}, Dtype::kBfloat16), 0xbf80);
}

TEST(Dtype, OptionWords) {
  EXPECT_EQ(dtype_from_option("bfloat16"), Dtype::kBfloat16);
  EXPECT_THROW(dtype_from_option("int8"), InputError);
  EXPECT_THROW(dtype_from_option(""), InputError);
  EXPECT_EQ(dtype_from_safetensors("F8_E4M3"), Dtype::kFloat8E4M3);
  EXPECT_EQ(dtype_from_safetensors("F4"), std::nullopt);
}

}  // namespace
}  // namespace titan
