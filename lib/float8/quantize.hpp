// Row and column copies of bf16 or fp32 matrices (float8_tensor.hpp). x[M,K] has contiguous rows and
// may have any row stride (a column slice of a wider matrix). amax is taken over the bf16-rounded
// values. All-zero rows: scale 2^48, values 0. A NaN in a row makes its scale and all its values NaN;
// an infinity makes its inverse scale infinite: both become NaN in a product (upstream's result).
// CUDA kernels on CUDA, plain ATen elsewhere, bit for bit the same. Enqueues on the current stream.
// Throws titan::Error for wrong shapes.
#pragma once

#include "lib/float8/float8_tensor.hpp"

namespace titan::float8 {

Float8Tensor quantize_rows(const at::Tensor& x);

Float8Tensor quantize_columns(const at::Tensor& x);

// Both, reading x twice in all.
struct Float8Copies {
  Float8Tensor row, column;
};
Float8Copies quantize_rows_and_columns(const at::Tensor& x);

// The column copy with one scale for the whole matrix, repeated: the weight of dgrad in the recipe
// rowwise_with_gw_hp.
Float8Tensor quantize_columns_by_tensor(const at::Tensor& x);

// values * inverse_scales in fp32, as stored ([rows, columns]).
at::Tensor dequantize(const Float8Tensor& tensor);

// The same in plain ATen on any device: what runs on the CPU, and the oracle of the tests.
namespace reference {
Float8Tensor quantize_rows(const at::Tensor& x);
Float8Tensor quantize_columns(const at::Tensor& x);
Float8Tensor quantize_columns_by_tensor(const at::Tensor& x);
}  // namespace reference

}  // namespace titan::float8
