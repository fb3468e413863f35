#include "lib/checkpoint/dtype.hpp"

#include <array>
#include <bit>
#include <cstdint>
#include <cstring>
#include <string>

#include "lib/base/error.hpp"

namespace titan {
namespace {

struct DtypeRow {
  Dtype dtype;
  size_t bytes;
  std::string_view safetensors;
  std::string_view option;  // empty: not an export type
};

constexpr std::array kDtypes = {
    DtypeRow{Dtype::kFloat64, 8, "F64", ""},
    DtypeRow{Dtype::kFloat32, 4, "F32", "float32"},
    DtypeRow{Dtype::kFloat16, 2, "F16", "float16"},
    DtypeRow{Dtype::kBfloat16, 2, "BF16", "bfloat16"},
    DtypeRow{Dtype::kFloat8E4M3, 1, "F8_E4M3", ""},
    DtypeRow{Dtype::kFloat8E5M2, 1, "F8_E5M2", ""},
    DtypeRow{Dtype::kInt64, 8, "I64", ""},
    DtypeRow{Dtype::kInt32, 4, "I32", ""},
    DtypeRow{Dtype::kInt16, 2, "I16", ""},
    DtypeRow{Dtype::kInt8, 1, "I8", ""},
    DtypeRow{Dtype::kUint8, 1, "U8", ""},
    DtypeRow{Dtype::kBool, 1, "BOOL", ""},
};

const DtypeRow& row(Dtype dtype) {
  for (const DtypeRow& entry : kDtypes) {
    if (entry.dtype == dtype) return entry;
  }
  throw Error("not a Dtype");
}

uint16_t bfloat16_from_float(float value) {
  uint32_t bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<uint16_t>((bits >> 16) | 0x40);  // NaN
  return static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

float float_from_bfloat16(uint16_t bits) {
  return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
}

// Divides by 2^shift, rounding to nearest, ties to even.
uint32_t shift_right_to_even(uint32_t value, int shift) {
  uint32_t quotient = value >> shift;
  uint32_t rest = value & ((1u << shift) - 1);
  uint32_t half = 1u << (shift - 1);
  return quotient + (rest > half || (rest == half && (quotient & 1)));
}

uint16_t float16_from_float(float value) {
  uint32_t bits = std::bit_cast<uint32_t>(value);
  uint32_t sign = (bits >> 16) & 0x8000;
  uint32_t magnitude = bits & 0x7fffffff;
  uint32_t half;
  if (magnitude > 0x7f800000) {
    half = 0x7e00;  // NaN
  } else if (magnitude >= 0x38800000) {
    // Normal in both formats: rebias the exponent, then round; a carry moves into the exponent.
    half = magnitude >= 0x47800000 ? 0x7c00 : shift_right_to_even(magnitude - 0x38000000, 13);
  } else {
    // Subnormal in float16: the units are 2^-24.
    int shift = 126 - static_cast<int>(magnitude >> 23);
    uint32_t mantissa = (magnitude & 0x7fffff) | 0x800000;
    half = shift > 25 ? 0 : shift_right_to_even(mantissa, shift);
  }
  return static_cast<uint16_t>(sign | half);
}

float float_from_float16(uint16_t bits) {
  uint32_t sign = static_cast<uint32_t>(bits & 0x8000) << 16;
  uint32_t exponent = (bits >> 10) & 0x1f;
  uint32_t mantissa = bits & 0x3ff;
  if (exponent == 0) {
    float magnitude = static_cast<float>(mantissa) * 0x1p-24f;
    return std::bit_cast<float>(std::bit_cast<uint32_t>(magnitude) | sign);
  }
  uint32_t rebiased = exponent == 31 ? 255 : exponent + 112;
  return std::bit_cast<float>(sign | (rebiased << 23) | (mantissa << 13));
}

// Applies `element` to each input element. memcpy: file buffers need not be aligned.
template <class In, class Element>
void convert_each(std::span<const std::byte> in, std::span<std::byte> out, Element element) {
  using Out = decltype(element(In{}));
  TITAN_CHECK(in.size() / sizeof(In) == out.size() / sizeof(Out), "convert: ", in.size(),
              " bytes do not convert to ", out.size());
  for (size_t i = 0; i < in.size() / sizeof(In); ++i) {
    In value;
    std::memcpy(&value, in.data() + i * sizeof(In), sizeof(In));
    Out converted = element(value);
    std::memcpy(out.data() + i * sizeof(Out), &converted, sizeof(Out));
  }
}

}  // namespace

size_t byte_size(Dtype dtype) { return row(dtype).bytes; }

std::string_view safetensors_name(Dtype dtype) { return row(dtype).safetensors; }

std::optional<Dtype> dtype_from_safetensors(std::string_view name) {
  for (const DtypeRow& entry : kDtypes) {
    if (entry.safetensors == name) return entry.dtype;
  }
  return std::nullopt;
}

Dtype dtype_from_option(std::string_view name) {
  for (const DtypeRow& entry : kDtypes) {
    if (!name.empty() && entry.option == name) return entry.dtype;
  }
  throw InputError(concat("unknown dtype \"", name, "\": expected float32, bfloat16 or float16"));
}

std::string_view option_name(Dtype dtype) {
  TITAN_CHECK(!row(dtype).option.empty(), row(dtype).safetensors, " is no export dtype");
  return row(dtype).option;
}

void convert(Dtype from, std::span<const std::byte> in, Dtype to, std::span<std::byte> out) {
  using enum Dtype;
  if (from == to) {
    TITAN_CHECK(in.size() == out.size(), "convert: ", in.size(), " bytes into ", out.size());
    if (!in.empty()) std::memcpy(out.data(), in.data(), in.size());
  } else if (from == kFloat32 && to == kBfloat16) {
    convert_each<float>(in, out, bfloat16_from_float);
  } else if (from == kFloat32 && to == kFloat16) {
    convert_each<float>(in, out, float16_from_float);
  } else if (from == kBfloat16 && to == kFloat32) {
    convert_each<uint16_t>(in, out, float_from_bfloat16);
  } else if (from == kFloat16 && to == kFloat32) {
    convert_each<uint16_t>(in, out, float_from_float16);
  } else if (from == kBfloat16 && to == kFloat16) {
    convert_each<uint16_t>(
        in, out, [](uint16_t bits) { return float16_from_float(float_from_bfloat16(bits)); });
  } else if (from == kFloat16 && to == kBfloat16) {
    convert_each<uint16_t>(
        in, out, [](uint16_t bits) { return bfloat16_from_float(float_from_float16(bits)); });
  } else {
    throw Error(
        concat("no conversion from ", safetensors_name(from), " to ", safetensors_name(to)));
  }
}

}  // namespace titan
