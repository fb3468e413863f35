// RMSNorm's arithmetic, for every kernel that makes a norm's output or gradient. Each rounding is
// written out, so that all of them give the same bits whatever the compiler would fuse.
#pragma once

#include "kernels/common/row_part.cuh"

namespace titan::kernels {

// Adds the squares of a vector's values, in order.
template <class T>
__device__ float add_squares(float sum, const Vector<T>& x) {
  float xs[kVectorWidth<T>];
  unpack(x, xs);
#pragma unroll
  for (const float value : xs) sum = __fmaf_rn(value, value, sum);
  return sum;
}

__device__ inline float reciprocal_rms(float sum_of_squares, int64_t cols, float eps) {
  return rsqrtf(__fadd_rn(sum_of_squares / static_cast<float>(cols), eps));
}

// y = x · rstd · weight, rounded to T.
template <class T>
__device__ Vector<T> normalise(const Vector<T>& x, float rstd, const Vector<T>& weight) {
  float xs[kVectorWidth<T>], ws[kVectorWidth<T>];
  unpack(x, xs);
  unpack(weight, ws);
#pragma unroll
  for (int i = 0; i < kVectorWidth<T>; ++i) xs[i] = __fmul_rn(__fmul_rn(xs[i], rstd), ws[i]);
  return pack<T>(xs);
}

// Adds Σ dy · weight · x of a vector.
template <class T>
__device__ float add_dot(float dot, const Vector<T>& dy, const Vector<T>& x,
                         const Vector<T>& weight) {
  float dys[kVectorWidth<T>], xs[kVectorWidth<T>], ws[kVectorWidth<T>];
  unpack(dy, dys);
  unpack(x, xs);
  unpack(weight, ws);
#pragma unroll
  for (int i = 0; i < kVectorWidth<T>; ++i) {
    dot = __fmaf_rn(__fmul_rn(dys[i], ws[i]), xs[i], dot);
  }
  return dot;
}

template <class T>
struct RmsNormGradient {
  Vector<T> dx;
  Vector<T> y;  // of the forward, again
};

// dx = rstd · (dy · weight − x̂ · mean) + residual, rounded to T, where x̂ = x · rstd and mean is
// that of dy · weight · x̂ over the row. Adds dy · x̂ to dweight.
template <class T>
__device__ RmsNormGradient<T> rms_norm_gradient(const Vector<T>& dy, const Vector<T>& x,
                                                const Vector<T>& weight, const Vector<T>& residual,
                                                float rstd, float mean,
                                                float (&dweight)[kVectorWidth<T>]) {
  constexpr int kWidth = kVectorWidth<T>;
  float dys[kWidth], xs[kWidth], ws[kWidth], dx[kWidth], y[kWidth];
  unpack(dy, dys);
  unpack(x, xs);
  unpack(weight, ws);
  unpack(residual, dx);
#pragma unroll
  for (int i = 0; i < kWidth; ++i) {
    const float normalised = __fmul_rn(xs[i], rstd);
    const float centred = __fmaf_rn(-normalised, mean, __fmul_rn(dys[i], ws[i]));
    dx[i] = __fmaf_rn(rstd, centred, dx[i]);
    dweight[i] = __fmaf_rn(dys[i], normalised, dweight[i]);
    y[i] = __fmul_rn(normalised, ws[i]);
  }
  return {pack<T>(dx), pack<T>(y)};
}

}  // namespace titan::kernels
