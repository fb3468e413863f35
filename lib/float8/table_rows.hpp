// What the files that fill the float8 op table share.
#pragma once

#include <ATen/ATen.h>

#include <cmath>

#include "lib/base/error.hpp"
#include "lib/float8/quantize.hpp"
#include "lib/ops/op_table.hpp"

namespace titan::float8 {

using ops::OpCase;
using ops::Tensors;

struct Size {
  int64_t rows, cols;
  bool timed = false;
};

// "T 16384, D 4096" for the letters T and D. bytes: for each bf16 value of [rows, cols].
template <class Sizes, class Inputs>
std::vector<OpCase> cases(const Sizes& sizes, char rows, char cols, double bytes,
                          const Inputs& inputs) {
  std::vector<OpCase> result;
  for (const Size& size : sizes) {
    result.push_back({.shape = concat(rows, " ", size.rows, ", ", cols, " ", size.cols),
                      .inputs = [=](at::Device device,
                                    at::ScalarType dtype) { return inputs(size, device, dtype); },
                      .bytes = bytes * static_cast<double>(size.rows * size.cols),
                      .timed = size.timed});
  }
  return result;
}

// x, where it is not timed with rows of zeros, of subnormal and of huge values, with NaN and with
// infinity.
inline at::Tensor with_hostile_rows(const at::Tensor& x, const Size& size, double huge) {
  if (size.timed) return x;
  x[1].zero_();
  x[2].mul_(1e-38);
  x[3].mul_(huge);
  x[4][5] = NAN;
  x[5][6] = INFINITY;
  return x;
}

inline Tensors tensors(const Float8Tensor& copy) { return {copy.values, copy.inverse_scales}; }

inline Tensors operator+(Tensors a, const Tensors& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

inline Tensors tensors(const RowCopy& copy) {
  Tensors result = tensors(copy.row);
  if (copy.column_amax.defined()) result.push_back(copy.column_amax);
  return result;
}

inline Tensors tensors(const Float8Copies& copies) {
  return tensors(copies.row) + tensors(copies.column);
}

}  // namespace titan::float8
