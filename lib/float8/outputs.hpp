// Memory for the copies that the CUDA kernels write, and what those kernels ask of their inputs.
#pragma once

#include "lib/float8/quantize.hpp"

#if TITAN_CUDA
#include <ATen/ATen.h>

#include "kernels/quantize/quantize.hpp"
#include "lib/ops/element_type.hpp"
#include "lib/ops/small_zeros.hpp"

namespace titan::float8 {

inline Float8Tensor allocate(const at::Tensor& like, int64_t rows, int64_t columns) {
  return {at::empty({rows, columns}, like.options().dtype(at::kFloat8_e4m3fn)),
          at::empty({rows}, like.options().dtype(at::kFloat))};
}

// The row copy of a matrix [rows, columns] on `like`'s device; without `with_column_amax`,
// column_amax stays undefined.
inline RowCopy allocate_row_copy(const at::Tensor& like, int64_t rows, int64_t columns,
                                 bool with_column_amax) {
  RowCopy copy{allocate(like, rows, columns), {}};
  if (with_column_amax) copy.column_amax = ops::small_zeros(columns);
  return copy;
}

inline kernels::RowCopyOutput output(const RowCopy& copy) {
  return {.values = static_cast<uint8_t*>(copy.row.values.data_ptr()),
          .inverse_scales = copy.row.inverse_scales.data_ptr<float>(),
          .column_amax = ops::elements<float>(copy.column_amax)};
}

// column_amax: fp32 [columns of the matrix], of any stride 0 or 1.
inline kernels::ColumnCopyOutput output(const Float8Tensor& copy, const at::Tensor& column_amax) {
  return {.values = static_cast<uint8_t*>(copy.values.data_ptr()),
          .inverse_scales = copy.inverse_scales.data_ptr<float>(),
          .column_amax = column_amax.const_data_ptr<float>(),
          .column_amax_stride = column_amax.stride(0)};
}

// Sizes that the products take: the dimension that they reduce over is a multiple of 16.
inline void check_sixteens(const char* op, const char* what, int64_t size) {
  TITAN_CHECK(size % 16 == 0, op, ": the CUDA kernel takes ", what, " in multiples of 16, got ",
              size);
}

inline void check_fp32(const char* op, const char* name, const at::Tensor& tensor, int64_t count) {
  TITAN_CHECK(
      tensor.scalar_type() == at::kFloat && tensor.numel() == count && tensor.is_contiguous(), op,
      ": expected ", name, " of ", count, " fp32 values, got ", tensor.sizes(), " ",
      tensor.scalar_type());
}

}  // namespace titan::float8
#endif
