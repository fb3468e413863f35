// 16 bytes of bf16 or fp32: the unit in which threads read and write device memory. Values stay
// packed in registers until they are used; arithmetic is in fp32. Addresses are 16-byte aligned.
#pragma once

#include <cuda_bf16.h>

#include <cstdint>

namespace titan::kernels {

template <class T>
inline constexpr int kVectorWidth = 16 / sizeof(T);

template <class T>
struct Vector {
  uint4 bits;
};

template <class T>
__device__ Vector<T> zero_vector() {
  return {make_uint4(0, 0, 0, 0)};
}

// An ordinary load: also right for memory that this kernel writes (in-place kernels).
template <class T>
__device__ Vector<T> load_vector(const T* address) {
  return {*reinterpret_cast<const uint4*>(address)};
}

// To device memory. In PTX, since the compiler splits a plain 16-byte assignment into four stores
// when that suits its schedule.
template <class T>
__device__ void store_vector(T* address, const Vector<T>& vector) {
  asm volatile("st.global.v4.b32 [%0], {%1, %2, %3, %4};" ::"l"(__cvta_generic_to_global(address)),
               "r"(vector.bits.x), "r"(vector.bits.y), "r"(vector.bits.z), "r"(vector.bits.w)
               : "memory");
}

// Hides from the compiler that `vector` is unchanged, so that it unpacks again instead of keeping
// the unpacked values alive, which take twice the registers.
template <class T>
__device__ void stay_packed(Vector<T>& vector) {
  asm volatile(""
               : "+r"(vector.bits.x), "+r"(vector.bits.y), "+r"(vector.bits.z),
                 "+r"(vector.bits.w));
}

// An address in device memory, kept in registers: without it the compiler works out anew for every
// vector of a row where the row starts.
template <class T>
__device__ T* computed_once(T* address) {
  asm("" : "+l"(address));
  __builtin_assume(__isGlobal(address));
  return address;
}

__device__ inline void unpack(const Vector<float>& vector, float (&values)[4]) {
  values[0] = __uint_as_float(vector.bits.x);
  values[1] = __uint_as_float(vector.bits.y);
  values[2] = __uint_as_float(vector.bits.z);
  values[3] = __uint_as_float(vector.bits.w);
}

// A bf16 is the upper half of an fp32; the lower address lies in the lower half of the word.
__device__ inline void unpack(const Vector<__nv_bfloat16>& vector, float (&values)[8]) {
  const uint32_t words[4] = {vector.bits.x, vector.bits.y, vector.bits.z, vector.bits.w};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    values[2 * i] = __uint_as_float(words[i] << 16);
    values[2 * i + 1] = __uint_as_float(words[i] & 0xffff0000u);
  }
}

template <class T>
__device__ Vector<T> pack(const float (&values)[kVectorWidth<T>]);

template <>
__device__ inline Vector<float> pack<float>(const float (&values)[4]) {
  return {make_uint4(__float_as_uint(values[0]), __float_as_uint(values[1]),
                     __float_as_uint(values[2]), __float_as_uint(values[3]))};
}

// Rounds to nearest even.
template <>
__device__ inline Vector<__nv_bfloat16> pack<__nv_bfloat16>(const float (&values)[8]) {
  uint32_t words[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const __nv_bfloat162 pair = __floats2bfloat162_rn(values[2 * i], values[2 * i + 1]);
    words[i] = *reinterpret_cast<const uint32_t*>(&pair);
  }
  return {make_uint4(words[0], words[1], words[2], words[3])};
}

// Single values, where 16 bytes do not fit.
__device__ inline float to_float(float value) { return value; }
__device__ inline float to_float(__nv_bfloat16 value) { return __bfloat162float(value); }

template <class T>
__device__ T from_float(float value);
template <>
__device__ inline float from_float<float>(float value) {
  return value;
}
template <>
__device__ inline __nv_bfloat16 from_float<__nv_bfloat16>(float value) {
  return __float2bfloat16_rn(value);
}

}  // namespace titan::kernels
