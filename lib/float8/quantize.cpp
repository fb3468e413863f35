#include "lib/float8/quantize.hpp"

#include <ATen/ATen.h>

#include "lib/base/error.hpp"
#include "lib/float8/outputs.hpp"
#include "lib/ops/device.hpp"

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

void check_column_amax(const at::Tensor& x, const at::Tensor& column_amax) {
  TITAN_CHECK(column_amax.dim() == 1 && column_amax.size(0) == x.size(1) &&
                  column_amax.scalar_type() == at::kFloat && column_amax.device() == x.device(),
              "quantize_columns: expected a column_amax of ", x.size(1), " fp32 values, got ",
              column_amax.sizes(), " ", column_amax.scalar_type());
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

#if TITAN_CUDA

void check_rows_aligned(const char* op, const at::Tensor& x) {
  const int64_t element = static_cast<int64_t>(x.element_size());
  TITAN_CHECK(
      reinterpret_cast<uintptr_t>(x.const_data_ptr()) % 16 == 0 && x.stride(0) * element % 16 == 0,
      op, ": rows must start at multiples of 16 bytes, got sizes ", x.sizes(), ", strides ",
      x.strides(), ", ", x.scalar_type());
  check_sixteens(op, "columns", x.size(1));
}

RowCopy rows_cuda(const at::Tensor& x, bool with_column_amax) {
  check_matrix("quantize_rows", x);
  check_rows_aligned("quantize_rows", x);
  RowCopy copy = allocate_row_copy(x, x.size(0), x.size(1), with_column_amax);
  ops::for_element_type("quantize_rows", x, [&]<class T>() {
    kernels::quantize_rows<T>({.x = ops::elements<const T>(x),
                               .stride = x.stride(0),
                               .out = output(copy),
                               .rows = x.size(0),
                               .cols = x.size(1)},
                              ops::current_stream());
  });
  return copy;
}

at::Tensor column_amax_cuda(const at::Tensor& x) {
  check_matrix("quantize_columns", x);
  check_rows_aligned("quantize_columns", x);
  at::Tensor column_amax = ops::small_zeros(x.size(1));
  ops::for_element_type("quantize_columns", x, [&]<class T>() {
    kernels::column_amax<T>({.x = ops::elements<const T>(x),
                             .stride = x.stride(0),
                             .column_amax = ops::elements<float>(column_amax),
                             .rows = x.size(0),
                             .cols = x.size(1)},
                            ops::current_stream());
  });
  return column_amax;
}

Float8Tensor columns_cuda(const at::Tensor& x, const at::Tensor& column_amax) {
  check_matrix("quantize_columns", x);
  check_rows_aligned("quantize_columns", x);
  check_sixteens("quantize_columns", "rows", x.size(0));
  Float8Tensor copy = allocate(x, x.size(1), x.size(0));
  ops::for_element_type("quantize_columns", x, [&]<class T>() {
    kernels::quantize_columns<T>({.x = ops::elements<const T>(x),
                                  .stride = x.stride(0),
                                  .out = output(copy, column_amax),
                                  .rows = x.size(0),
                                  .cols = x.size(1)},
                                 ops::current_stream());
  });
  return copy;
}

#endif

at::Tensor column_amax_of(const at::Tensor& x) {
#if TITAN_CUDA
  if (ops::runs_kernels(x)) return column_amax_cuda(x);
#endif
  return reference::column_amax(x);
}

at::Tensor one_for_all(const at::Tensor& column_amax) {
  return column_amax.amax().expand(column_amax.sizes());
}

}  // namespace

Float8Tensor quantize_rows(const at::Tensor& x) {
#if TITAN_CUDA
  if (ops::runs_kernels(x)) return rows_cuda(x, /*with_column_amax=*/false).row;
#endif
  return reference::quantize_rows(x);
}

RowCopy quantize_rows_with_column_amax(const at::Tensor& x) {
#if TITAN_CUDA
  if (ops::runs_kernels(x)) return rows_cuda(x, /*with_column_amax=*/true);
#endif
  return {reference::quantize_rows(x), reference::column_amax(x)};
}

RowCopy copy_rows(const at::Tensor& x, bool with_column_amax) {
  if (with_column_amax) return quantize_rows_with_column_amax(x);
  return {quantize_rows(x), {}};
}

Float8Tensor quantize_columns(const at::Tensor& x) {
  return quantize_columns(x, column_amax_of(x));
}

Float8Tensor quantize_columns(const at::Tensor& x, const at::Tensor& column_amax) {
  check_column_amax(x, column_amax);
#if TITAN_CUDA
  if (ops::runs_kernels(x)) return columns_cuda(x, column_amax);
#endif
  return reference::quantize_columns(x, column_amax);
}

Float8Tensor quantize_columns_by_tensor(const at::Tensor& x) {
  return quantize_columns(x, one_for_all(column_amax_of(x)));
}

Float8Copies quantize_rows_and_columns(const at::Tensor& x, ColumnScales column_scales) {
  RowCopy copy = quantize_rows_with_column_amax(x);
  return {std::move(copy.row), quantize_columns(x, column_scales == ColumnScales::kPerTensor
                                                       ? one_for_all(copy.column_amax)
                                                       : copy.column_amax)};
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
  check_matrix("quantize_columns", x);
  return x.abs().amax(0).to(at::kFloat);
}

Float8Tensor quantize_columns(const at::Tensor& x, const at::Tensor& column_amax) {
  check_matrix("quantize_columns", x);
  return quantize_stored(x.t(), column_amax);
}

}  // namespace reference
}  // namespace titan::float8
