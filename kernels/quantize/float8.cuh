// Vectors of bf16 or fp32 on their way to float8: magnitudes, their maxima, the cast.
//
// Maxima are taken over the values' bits without the sign, as unsigned integers: they order like
// magnitudes, with NaN above infinity, so that any order of taking them gives the same bits and a
// NaN is never lost.
#pragma once

#include "kernels/common/reduce.cuh"
#include "kernels/common/vector.cuh"
#include "kernels/quantize/float8_scale.hpp"

namespace titan::kernels {

template <class T>
inline constexpr uint32_t kWithoutSigns = sizeof(T) == 4 ? 0x7fffffffu : 0x7fff7fffu;

__device__ inline uint32_t larger_word(uint32_t a, uint32_t b, float) { return max(a, b); }
__device__ inline uint32_t larger_word(uint32_t a, uint32_t b, __nv_bfloat16) {
  return __vmaxu2(a, b);
}

template <class T>
__device__ Vector<T> magnitudes(const Vector<T>& values) {
  constexpr uint32_t kMask = kWithoutSigns<T>;
  const uint4& bits = values.bits;
  return {make_uint4(bits.x & kMask, bits.y & kMask, bits.z & kMask, bits.w & kMask)};
}

// maxima[i] = max(maxima[i], magnitudes[i]).
template <class T>
__device__ void include_magnitudes(Vector<T>& maxima, const Vector<T>& magnitudes) {
  maxima.bits.x = larger_word(maxima.bits.x, magnitudes.bits.x, T{});
  maxima.bits.y = larger_word(maxima.bits.y, magnitudes.bits.y, T{});
  maxima.bits.z = larger_word(maxima.bits.z, magnitudes.bits.z, T{});
  maxima.bits.w = larger_word(maxima.bits.w, magnitudes.bits.w, T{});
}

// The largest of a vector of maxima, as the bits of a float.
template <class T>
__device__ uint32_t largest(const Vector<T>& maxima) {
  const uint32_t word = larger_word(larger_word(maxima.bits.x, maxima.bits.y, T{}),
                                    larger_word(maxima.bits.z, maxima.bits.w, T{}), T{});
  if constexpr (sizeof(T) == 4) {
    return word;
  } else {
    return max(word << 16, word & 0xffff0000u);
  }
}

// As the bits of a float.
__device__ inline uint32_t float_bits(float value) { return __float_as_uint(value); }
__device__ inline uint32_t float_bits(__nv_bfloat16 value) {
  return static_cast<uint32_t>(__bfloat16_as_ushort(value)) << 16;
}

// The largest value of a block of whole warps, for every thread. One barrier, always: reads of
// shared memory before the call are over after it. Before `scratch` (kReduceScratch words) is used
// again, the block must pass another barrier.
__device__ inline uint32_t block_largest(uint32_t value, uint32_t* scratch) {
  const unsigned lane = threadIdx.x % kWarpSize;
  value = __reduce_max_sync(0xffffffffu, value);
  if (lane == 0) scratch[threadIdx.x / kWarpSize] = value;
  __syncthreads();
  return __reduce_max_sync(0xffffffffu, lane < blockDim.x / kWarpSize ? scratch[lane] : 0u);
}

// Two e4m3 values, `low` in the lower byte: rounded to nearest even, magnitudes beyond 448 become
// 448, NaN becomes 0x7f.
__device__ inline uint32_t e4m3_pair(float low, float high) {
  uint16_t pair;
  asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(pair) : "f"(high), "f"(low));
  return pair;
}

__device__ inline uint32_t e4m3_quad(float a, float b, float c, float d) {
  return e4m3_pair(a, b) | e4m3_pair(c, d) << 16;
}

// vector * scale, exact where the scale is a power of two and the product a normal number.
__device__ inline Vector<__nv_bfloat16> scaled(const Vector<__nv_bfloat16>& vector, float scale) {
  const __nv_bfloat162 factors = __float2bfloat162_rn(scale);
  Vector<__nv_bfloat16> result = vector;
  for (uint32_t* word : {&result.bits.x, &result.bits.y, &result.bits.z, &result.bits.w}) {
    const __nv_bfloat162 product =
        __hmul2_rn(*reinterpret_cast<const __nv_bfloat162*>(word), factors);
    *word = *reinterpret_cast<const uint32_t*>(&product);
  }
  return result;
}

// values * scale to device memory: 8 bytes for 8 bf16, 4 for 4 fp32. The scale is a power of two, 0
// or NaN; subnormal products are zero in e4m3.
__device__ inline void store_float8(uint8_t* address, const Vector<__nv_bfloat16>& vector,
                                    float scale) {
  float v[8];
  unpack(scaled(vector, scale), v);
  asm volatile("st.global.v2.b32 [%0], {%1, %2};" ::"l"(__cvta_generic_to_global(address)),
               "r"(e4m3_quad(v[0], v[1], v[2], v[3])), "r"(e4m3_quad(v[4], v[5], v[6], v[7]))
               : "memory");
}

__device__ inline void store_float8(uint8_t* address, const Vector<float>& vector, float scale) {
  float v[4];
  unpack(vector, v);
  *reinterpret_cast<uint32_t*>(address) =
      e4m3_quad(v[0] * scale, v[1] * scale, v[2] * scale, v[3] * scale);
}

}  // namespace titan::kernels
