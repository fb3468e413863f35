// SwiGLU's arithmetic, for every kernel that makes its output or gradients. Each rounding is
// written out, so that all of them give the same bits whatever the compiler would fuse.
#pragma once

#include <type_traits>

#include "kernels/common/vector.cuh"

namespace titan::kernels {

// The fast exponential and division are within a few units of fp32's last place: far below the
// rounding to bf16, but not below that to fp32.
template <class T>
__device__ float sigmoid(float x) {
  if constexpr (std::is_same_v<T, float>) {
    return __fdiv_rn(1.0f, __fadd_rn(1.0f, expf(-x)));
  } else {
    return __fdividef(1.0f, __fadd_rn(1.0f, __expf(-x)));
  }
}

// h = gate · s · up with s = 1 / (1 + exp(-gate)), rounded to T.
template <class T>
__device__ Vector<T> swiglu(const Vector<T>& gate, const Vector<T>& up) {
  float g[kVectorWidth<T>], u[kVectorWidth<T>];
  unpack(gate, g);
  unpack(up, u);
#pragma unroll
  for (int i = 0; i < kVectorWidth<T>; ++i) {
    g[i] = __fmul_rn(__fmul_rn(g[i], sigmoid<T>(g[i])), u[i]);
  }
  return pack<T>(g);
}

template <class T>
struct SwigluGradient {
  Vector<T> dgate, dup;
  Vector<T> h;  // of the forward, again
};

// dgate = dh · up · s · (1 + gate · (1 - s));  dup = dh · gate · s.
template <class T>
__device__ SwigluGradient<T> swiglu_gradient(const Vector<T>& gate, const Vector<T>& up,
                                             const Vector<T>& dh) {
  float g[kVectorWidth<T>], u[kVectorWidth<T>], d[kVectorWidth<T>], h[kVectorWidth<T>];
  unpack(gate, g);
  unpack(up, u);
  unpack(dh, d);
#pragma unroll
  for (int i = 0; i < kVectorWidth<T>; ++i) {
    const float s = sigmoid<T>(g[i]);
    const float silu = __fmul_rn(g[i], s);
    const float slope = __fmul_rn(s, __fmaf_rn(g[i], __fsub_rn(1.0f, s), 1.0f));
    h[i] = __fmul_rn(silu, u[i]);
    g[i] = __fmul_rn(__fmul_rn(d[i], u[i]), slope);
    u[i] = __fmul_rn(d[i], silu);
  }
  return {pack<T>(g), pack<T>(u), pack<T>(h)};
}

}  // namespace titan::kernels
