// What the cross-entropy kernels share: the running maximum and sum of exponentials of a softmax,
// in base 2, so that an exponential is one multiply-add and one ex2; and access to logits by 16
// bytes or one by one.
#pragma once

#include <cfloat>
#include <type_traits>

#include "kernels/common/reduce.cuh"
#include "kernels/common/vector.cuh"

namespace titan::kernels {

inline constexpr float kLog2E = 1.4426950408889634f;
inline constexpr float kLn2 = 0.6931471805599453f;

__device__ inline float exp2_approximate(float x) {  // relative error 2^-22
  float result;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
  return result;
}

// The exponentials of some logits: they add up to sum * 2^maximum, where maximum is the largest
// logit * kLog2E, rounded once: every 2^(logit * kLog2E - maximum) is formed with that value, so
// that its rounding cancels.
struct MaxSum {
  float maximum;
  float sum;
};
// Not -infinity: the difference of two of them would be NaN.
__device__ inline MaxSum no_logits() { return {-FLT_MAX, 0.0f}; }

__device__ inline MaxSum combine(MaxSum a, MaxSum b) {
  const float maximum = fmaxf(a.maximum, b.maximum);
  return {maximum, a.sum * exp2_approximate(a.maximum - maximum) +
                       b.sum * exp2_approximate(b.maximum - maximum)};
}

__device__ inline MaxSum warp_combine(MaxSum value) {
#pragma unroll
  for (int distance = kWarpSize / 2; distance > 0; distance /= 2) {
    value = combine(value, {__shfl_xor_sync(0xffffffffu, value.maximum, distance),
                            __shfl_xor_sync(0xffffffffu, value.sum, distance)});
  }
  return value;
}

// Takes some more logits into `total`, and returns the largest of them.
template <int kWidth>
__device__ float add_logits(MaxSum& total, const float (&logits)[kWidth]) {
  float largest = logits[0];
#pragma unroll
  for (int k = 1; k < kWidth; ++k) largest = fmaxf(largest, logits[k]);
  const float maximum = __fmul_rn(largest, kLog2E);
  if (maximum > total.maximum) {  // seldom after the first few
    total.sum *= exp2_approximate(total.maximum - maximum);
    total.maximum = maximum;
  }
  float sum = 0.0f;
#pragma unroll
  for (int k = 0; k < kWidth; ++k) {
    sum += exp2_approximate(fmaf(logits[k], kLog2E, -total.maximum));
  }
  total.sum += sum;
  return largest;
}

// What one thread reads and writes at a time: 16 bytes, or one logit where rows are not aligned.
template <class T, bool kWide>
struct Access {
  static constexpr int kWidth = kWide ? kVectorWidth<T> : 1;

  __device__ static void load(const T* address, float (&values)[kWidth]) {
    if constexpr (kWide) {
      unpack(load_vector(address), values);
    } else {
      values[0] = to_float(*address);
    }
  }
  __device__ static void store(T* address, const float (&values)[kWidth]) {
    if constexpr (kWide) {
      store_vector(address, pack<T>(values));
    } else {
      *address = from_float<T>(values[0]);
    }
  }
};

}  // namespace titan::kernels
