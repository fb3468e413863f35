// Row and column copies of bf16 or fp32 matrices (float8_tensor.hpp). x[M,K] has contiguous rows
// and may have any row stride (a column slice of a wider matrix); M, K at least 1. amax is taken
// over the values as they are given, in their own dtype. All-zero rows: scale 2^48, values 0. A NaN
// in a row makes its scale and all its values NaN; an infinity makes its inverse scale infinite:
// both become NaN in a product (upstream's result). CUDA kernels on CUDA, where K is a multiple of
// 16 and so is M for column copies; plain ATen elsewhere, bit for bit the same. Enqueues on the
// current stream. Throws titan::Error for wrong shapes.
//
// Equal to torchao for every bf16 matrix. For fp32, torchao's exp2(floor(log2(s))) overshoots where
// log2 of a value just below a power of two rounds up (1 in 10^6): there its values saturate, ours
// do not.
#pragma once

#include "lib/float8/float8_tensor.hpp"

namespace titan::float8 {

Float8Tensor quantize_rows(const at::Tensor& x);

// The row copy, and what a column copy of the same values needs to know before its only read.
struct RowCopy {
  Float8Tensor row;
  at::Tensor column_amax;  // fp32 [K], the largest |x| of each column; NaN if one is NaN
};
RowCopy quantize_rows_with_column_amax(const at::Tensor& x);
// Without `with_column_amax`, RowCopy::column_amax stays undefined: recipes whose weight gradient
// is not in float8 need none.
RowCopy copy_rows(const at::Tensor& x, bool with_column_amax);

// Reads x twice, or once with the amax that a RowCopy of the same values gave.
Float8Tensor quantize_columns(const at::Tensor& x);
Float8Tensor quantize_columns(const at::Tensor& x, const at::Tensor& column_amax);

// The column copy with one scale for the whole matrix, repeated: the weight of dgrad in the recipe
// rowwise_with_gw_hp.
Float8Tensor quantize_columns_by_tensor(const at::Tensor& x);

// Both copies, reading x twice in all. `column_scales` says which of the two column copies.
enum class ColumnScales { kPerColumn, kPerTensor };
struct Float8Copies {
  Float8Tensor row, column;
};
Float8Copies quantize_rows_and_columns(const at::Tensor& x,
                                       ColumnScales column_scales = ColumnScales::kPerColumn);

// values * inverse_scales in fp32, as stored ([rows, columns]).
at::Tensor dequantize(const Float8Tensor& tensor);

// The same in plain ATen on any device: what runs on the CPU, and the oracle of the tests.
namespace reference {
Float8Tensor quantize_rows(const at::Tensor& x);
at::Tensor column_amax(const at::Tensor& x);
Float8Tensor quantize_columns(const at::Tensor& x, const at::Tensor& column_amax);
}  // namespace reference

}  // namespace titan::float8
