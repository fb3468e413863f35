// Four consecutive values: 16 bytes of fp32 or 8 bytes of bf16, aligned to that. For kernels that
// walk tensors of both types with the same threads: every access of a warp stays contiguous, which
// 16 bytes of bf16 beside 2 x 16 bytes of fp32 would not be.
#pragma once

#include "kernels/common/vector.cuh"

namespace titan::kernels {

inline constexpr int kQuad = 4;

__device__ inline void load_quad(const float* address, float (&values)[kQuad]) {
  unpack(load_vector(address), values);
}

__device__ inline void load_quad(const __nv_bfloat16* address, float (&values)[kQuad]) {
  const uint2 bits = *reinterpret_cast<const uint2*>(address);
  values[0] = __uint_as_float(bits.x << 16);
  values[1] = __uint_as_float(bits.x & 0xffff0000u);
  values[2] = __uint_as_float(bits.y << 16);
  values[3] = __uint_as_float(bits.y & 0xffff0000u);
}

__device__ inline void store_quad(float* address, const float (&values)[kQuad]) {
  store_vector(address, pack<float>(values));
}

// Rounds to nearest even.
__device__ inline void store_quad(__nv_bfloat16* address, const float (&values)[kQuad]) {
  const __nv_bfloat162 low = __floats2bfloat162_rn(values[0], values[1]);
  const __nv_bfloat162 high = __floats2bfloat162_rn(values[2], values[3]);
  *reinterpret_cast<uint2*>(address) = make_uint2(*reinterpret_cast<const uint32_t*>(&low),
                                                  *reinterpret_cast<const uint32_t*>(&high));
}

// One value, where a tensor or its rows are not aligned for four.
template <class T>
__device__ void load_quad(const T* address, float (&values)[1]) {
  values[0] = to_float(*address);
}
template <class T>
__device__ void store_quad(T* address, const float (&values)[1]) {
  *address = from_float<T>(values[0]);
}

// Whether quads may start at this address.
template <class T>
bool quad_aligned(const T* address) {
  return reinterpret_cast<uintptr_t>(address) % (kQuad * sizeof(T)) == 0;
}

}  // namespace titan::kernels
