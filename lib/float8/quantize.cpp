#include "lib/float8/quantize.hpp"

#include <ATen/ATen.h>

#include "lib/base/error.hpp"

namespace titan::float8 {
namespace {

constexpr double kLargest = 448;         // of e4m3
constexpr double kSmallestAmax = 1e-12;  // torchao's EPS

void check_matrix(const char* op, const at::Tensor& x) {
  TITAN_CHECK(x.dim() == 2 && x.numel() > 0 && (x.size(1) == 1 || x.stride(1) == 1) &&
                  (x.scalar_type() == at::kBFloat16 || x.scalar_type() == at::kFloat),
              op, ": expected a bf16 or fp32 matrix with contiguous rows, got ", x.sizes(), " ",
              x.scalar_type(), " with strides ", x.strides());
}

// 2^floor(log2(448 / max(amax, 1e-12))), with the roundings of torchao: divided in fp64, narrowed
// to fp32. Leaving out the mantissa's bits rounds down to a power of two; NaN stays.
at::Tensor scale_of(const at::Tensor& amax) {
  const at::Tensor quotient = kLargest / amax.to(at::kDouble).clamp_min(kSmallestAmax);
  const at::Tensor scale = quotient.to(at::kFloat);
  const at::Tensor power = scale.view(at::kInt).bitwise_and(0x7f800000).view(at::kFloat);
  return at::where(scale.isnan(), scale, power);
}

// x as it is stored, amax[rows].
Float8Tensor quantize_stored(const at::Tensor& x, const at::Tensor& amax) {
  const at::Tensor scale = scale_of(amax);
  // Clamped first: the cast makes NaN of values beyond the largest.
  const at::Tensor scaled = (x.to(at::kFloat) * scale.unsqueeze(1)).clamp_(-kLargest, kLargest);
  return {scaled.to(at::kFloat8_e4m3fn).contiguous(), scale.reciprocal()};
}

}  // namespace

Float8Tensor quantize_rows(const at::Tensor& x) { return reference::quantize_rows(x); }

RowCopy quantize_rows_with_column_amax(const at::Tensor& x) {
  return {reference::quantize_rows(x), reference::column_amax(x)};
}

Float8Tensor quantize_columns(const at::Tensor& x) {
  return reference::quantize_columns(x, reference::column_amax(x));
}

Float8Tensor quantize_columns(const at::Tensor& x, const at::Tensor& column_amax) {
  return reference::quantize_columns(x, column_amax);
}

Float8Tensor quantize_columns_by_tensor(const at::Tensor& x) {
  return reference::quantize_columns(x, reference::column_amax(x).amax().expand({x.size(1)}));
}

Float8Copies quantize_rows_and_columns(const at::Tensor& x, ColumnScales column_scales) {
  return {quantize_rows(x), column_scales == ColumnScales::kPerTensor
                                ? quantize_columns_by_tensor(x)
                                : quantize_columns(x)};
}

at::Tensor dequantize(const Float8Tensor& tensor) {
  return tensor.values.to(at::kFloat) * tensor.inverse_scales.unsqueeze(1);
}

namespace reference {

Float8Tensor quantize_rows(const at::Tensor& x) {
  check_matrix("quantize_rows", x);
  return quantize_stored(x, x.abs().amax(1));
}

at::Tensor column_amax(const at::Tensor& x) {
  check_matrix("column_amax", x);
  return x.abs().amax(0).to(at::kFloat);
}

Float8Tensor quantize_columns(const at::Tensor& x, const at::Tensor& column_amax) {
  check_matrix("quantize_columns", x);
  return quantize_stored(x.t(), column_amax);
}

}  // namespace reference
}  // namespace titan::float8
