// A matrix in float8 e4m3 with one scale per row of what is stored. Two kinds of copies are made of
// a matrix X[M,K]:
//   row copy      values [M,K], one scale per row: operand of a product that reduces over K
//   column copy   values [K,M], X transposed, one scale per column of X: reduces over M
// q = e4m3(clamp(x * s, ±448)), rounded to nearest even, with s = 2^floor(log2(448 / max(amax,
// 1e-12))) (torchao float8_utils.py with round_scales_to_power_of_2). Products want 1/s.
#pragma once

#include <ATen/core/Tensor.h>

namespace titan {

struct Float8Tensor {
  at::Tensor values;          // float8_e4m3fn [rows, columns], contiguous
  at::Tensor inverse_scales;  // fp32 [rows], 16-byte aligned: x = values * inverse_scales

  // Rows [first, first + count), with first a multiple of 4 for the scales' alignment.
  Float8Tensor narrow_rows(int64_t first, int64_t count) const {
    return {values.narrow(0, first, count), inverse_scales.narrow(0, first, count)};
  }

  bool defined() const { return values.defined(); }
  void reset() { *this = {}; }
};

}  // namespace titan
