// Element types of stored tensors, under safetensors' names, and conversions between the float
// types.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string_view>

namespace titan {

enum class Dtype {
  kFloat64,
  kFloat32,
  kFloat16,
  kBfloat16,
  kFloat8E4M3,
  kFloat8E5M2,
  kInt64,
  kInt32,
  kInt16,
  kInt8,
  kUint8,
  kBool,
};

size_t byte_size(Dtype dtype);

// "F32", "BF16", ...: the words of a safetensors header.
std::string_view safetensors_name(Dtype dtype);
std::optional<Dtype> dtype_from_safetensors(std::string_view name);

// "float32", "bfloat16", "float16": the words of checkpoint.export_dtype. Throws InputError on
// others.
Dtype dtype_from_option(std::string_view name);
std::string_view option_name(Dtype dtype);

// Converts between float32, bfloat16 and float16 (round to nearest, ties to even; NaN stays NaN,
// what is too large becomes infinity); equal types are copied. Both spans hold the same number of
// elements. Throws Error on other pairs of types.
void convert(Dtype from, std::span<const std::byte> in, Dtype to, std::span<std::byte> out);

}  // namespace titan
