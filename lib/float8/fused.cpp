#include "lib/float8/fused.hpp"

#include <ATen/ATen.h>

#include "lib/base/error.hpp"
#include "lib/float8/outputs.hpp"
#include "lib/ops/device.hpp"
#include "lib/ops/rms_norm.hpp"
#include "lib/ops/swiglu.hpp"

#if TITAN_CUDA
#include "kernels/quantize/rms_norm_copies.hpp"
#include "kernels/quantize/swiglu_copies.hpp"
#endif

namespace titan::float8 {
namespace {

#if TITAN_CUDA

template <class T>
void check_inputs(const char* op, const at::Tensor& x, int64_t columns,
                  std::initializer_list<std::pair<const char*, at::Tensor>> others) {
  TITAN_CHECK(x.dim() == 2 && x.size(0) > 0, op, ": expected at least one row, got ", x.sizes());
  ops::check_vectors<T>(op, "its first input", x);
  check_sixteens(op, "columns", columns);
  for (const auto& [name, tensor] : others) {
    TITAN_CHECK(tensor.scalar_type() == x.scalar_type() && tensor.size(0) == x.size(0), op, ": ",
                name, " ", tensor.sizes(), " ", tensor.scalar_type(), " does not go with ",
                x.sizes(), " ", x.scalar_type());
    ops::check_vectors<T>(op, name, tensor);
  }
}

template <class T>
void check_norm(const char* op, const at::Tensor& x, const at::Tensor& weight) {
  check_inputs<T>(op, x, x.size(1), {});
  ops::check_vectors<T>(op, "weight", weight);
  TITAN_CHECK(weight.numel() == x.size(1) && weight.scalar_type() == x.scalar_type() &&
                  x.size(1) <= kernels::kRmsNormMaxCols<T>,
              op, ": expected x[T,D] and weight[D] of one dtype with D at most ",
              kernels::kRmsNormMaxCols<T>, ", got x", x.sizes(), " ", x.scalar_type(),
              " and weight", weight.sizes(), " ", weight.scalar_type());
}

RmsNormCopy rms_norm_cuda(const at::Tensor& x, const at::Tensor& weight, double eps,
                          bool with_column_amax) {
  RmsNormCopy result;
  ops::for_element_type("rms_norm copy", x, [&]<class T>() {
    check_norm<T>("rms_norm copy", x, weight);
    result = {allocate_row_copy(x, x.size(0), x.size(1), with_column_amax),
              at::empty({x.size(0)}, x.options().dtype(at::kFloat))};
    kernels::rms_norm_rows<T>({.x = ops::elements<const T>(x),
                               .weight = ops::elements<const T>(weight),
                               .rstd = ops::elements<float>(result.rstd),
                               .out = output(result.y),
                               .rows = x.size(0),
                               .cols = x.size(1),
                               .eps = static_cast<float>(eps)},
                              ops::current_stream());
  });
  return result;
}

Float8Tensor rms_norm_columns_cuda(const at::Tensor& x, const at::Tensor& weight,
                                   const at::Tensor& rstd, const at::Tensor& column_amax) {
  constexpr const char* kOp = "rms_norm column copy";
  Float8Tensor copy;
  ops::for_element_type(kOp, x, [&]<class T>() {
    check_norm<T>(kOp, x, weight);
    check_sixteens(kOp, "rows", x.size(0));
    check_fp32(kOp, "rstd", rstd, x.size(0));
    check_fp32(kOp, "column_amax", column_amax, x.size(1));
    copy = allocate(x, x.size(1), x.size(0));
    kernels::rms_norm_columns<T>({.x = ops::elements<const T>(x),
                                  .weight = ops::elements<const T>(weight),
                                  .rstd = ops::elements<const float>(rstd),
                                  .out = output(copy, column_amax),
                                  .rows = x.size(0),
                                  .cols = x.size(1)},
                                 ops::current_stream());
  });
  return copy;
}

GradientCopy rms_norm_backward_cuda(const at::Tensor& dy, const at::Tensor& x,
                                    const at::Tensor& weight, const at::Tensor& rstd,
                                    const at::Tensor& residual_gradient, at::Tensor dweight,
                                    bool accumulate, at::Tensor* y, bool with_column_amax) {
  constexpr const char* kOp = "rms_norm_backward copy";
  GradientCopy result;
  ops::for_element_type(kOp, x, [&]<class T>() {
    check_norm<T>(kOp, x, weight);
    check_inputs<T>(kOp, x, x.size(1), {{"dy", dy}, {"residual_gradient", residual_gradient}});
    TITAN_CHECK(dy.sizes() == x.sizes() && residual_gradient.sizes() == x.sizes(), kOp,
                ": dy and residual_gradient must be like x", x.sizes());
    check_fp32(kOp, "rstd", rstd, x.size(0));
    check_fp32(kOp, "dweight", dweight, x.size(1));
    result = {at::empty_like(x), allocate_row_copy(x, x.size(0), x.size(1), with_column_amax)};
    if (y != nullptr) *y = at::empty_like(x);
    const int64_t blocks = kernels::rms_norm_backward_blocks<T>(x.size(0), x.size(1));
    const at::Tensor partials = at::empty({blocks, x.size(1)}, dweight.options());
    kernels::rms_norm_backward_rows<T>(
        {.norm = {.dy = ops::elements<const T>(dy),
                  .x = ops::elements<const T>(x),
                  .weight = ops::elements<const T>(weight),
                  .rstd = ops::elements<const float>(rstd),
                  .residual_gradient = ops::elements<const T>(residual_gradient),
                  .dx = ops::elements<T>(result.dx),
                  .y = y != nullptr ? ops::elements<T>(*y) : nullptr,
                  .partials = ops::elements<float>(partials),
                  .dweight = ops::elements<float>(dweight),
                  .accumulate = accumulate,
                  .rows = x.size(0),
                  .cols = x.size(1)},
         .out = output(result.copy)},
        ops::current_stream());
  });
  return result;
}

RowCopy swiglu_cuda(const at::Tensor& gate_up, bool with_column_amax) {
  RowCopy copy;
  ops::for_element_type("swiglu copy", gate_up, [&]<class T>() {
    const int64_t rows = gate_up.size(0), cols = gate_up.size(1) / 2;
    check_inputs<T>("swiglu copy", gate_up, cols, {});
    if (cols > kernels::kSwigluRowsMaxCols<T>) {
      copy = unfused::swiglu(gate_up, with_column_amax);
      return;
    }
    copy = allocate_row_copy(gate_up, rows, cols, with_column_amax);
    kernels::swiglu_rows<T>({.gate_up = ops::elements<const T>(gate_up),
                             .out = output(copy),
                             .rows = rows,
                             .cols = cols},
                            ops::current_stream());
  });
  return copy;
}

Float8Tensor swiglu_columns_cuda(const at::Tensor& gate_up, const at::Tensor& column_amax) {
  constexpr const char* kOp = "swiglu column copy";
  const int64_t rows = gate_up.size(0), cols = gate_up.size(1) / 2;
  Float8Tensor copy;
  ops::for_element_type(kOp, gate_up, [&]<class T>() {
    check_inputs<T>(kOp, gate_up, cols, {});
    check_sixteens(kOp, "rows", rows);
    check_fp32(kOp, "column_amax", column_amax, cols);
    copy = allocate(gate_up, cols, rows);
    kernels::swiglu_columns<T>({.gate_up = ops::elements<const T>(gate_up),
                                .out = output(copy, column_amax),
                                .rows = rows,
                                .cols = cols},
                               ops::current_stream());
  });
  return copy;
}

RowCopy swiglu_backward_cuda(const at::Tensor& dh, const at::Tensor& gate_up, bool restore_h,
                             bool with_column_amax) {
  constexpr const char* kOp = "swiglu_backward_ copy";
  const int64_t rows = dh.size(0), cols = dh.size(1);
  RowCopy copy;
  ops::for_element_type(kOp, gate_up, [&]<class T>() {
    check_inputs<T>(kOp, gate_up, cols, {{"dh", dh}});
    TITAN_CHECK(gate_up.size(1) == 2 * cols, kOp, ": expected dh[T,F] and gate_up[T,2F], got dh",
                dh.sizes(), " and gate_up", gate_up.sizes());
    if (cols > kernels::kSwigluBackwardRowsMaxCols<T>) {
      copy = unfused::swiglu_backward_(dh, gate_up, with_column_amax);
      return;
    }
    copy = allocate_row_copy(gate_up, rows, 2 * cols, with_column_amax);
    kernels::swiglu_backward_rows<T>({.swiglu = {.gate_up = ops::elements<T>(gate_up),
                                                 .dh = ops::elements<T>(dh),
                                                 .rows = rows,
                                                 .cols = cols},
                                      .restore_h = restore_h,
                                      .out = output(copy)},
                                     ops::current_stream());
  });
  return copy;
}

#endif

}  // namespace

RmsNormCopy rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps,
                     bool with_column_amax) {
#if TITAN_CUDA
  if (ops::runs_kernels(x)) return rms_norm_cuda(x, weight, eps, with_column_amax);
#endif
  return unfused::rms_norm(x, weight, eps, with_column_amax);
}

Float8Tensor rms_norm_columns(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& rstd,
                              const at::Tensor& column_amax) {
#if TITAN_CUDA
  if (ops::runs_kernels(x)) return rms_norm_columns_cuda(x, weight, rstd, column_amax);
#endif
  return unfused::rms_norm_columns(x, weight, rstd, column_amax);
}

GradientCopy rms_norm_backward(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& weight,
                               const at::Tensor& rstd, const at::Tensor& residual_gradient,
                               at::Tensor dweight, bool accumulate, at::Tensor* y,
                               bool with_column_amax) {
#if TITAN_CUDA
  if (ops::runs_kernels(x)) {
    return rms_norm_backward_cuda(dy, x, weight, rstd, residual_gradient, dweight, accumulate, y,
                                  with_column_amax);
  }
#endif
  return unfused::rms_norm_backward(dy, x, weight, rstd, residual_gradient, dweight, accumulate, y,
                                    with_column_amax);
}

RowCopy swiglu(const at::Tensor& gate_up, bool with_column_amax) {
#if TITAN_CUDA
  if (ops::runs_kernels(gate_up)) return swiglu_cuda(gate_up, with_column_amax);
#endif
  return unfused::swiglu(gate_up, with_column_amax);
}

Float8Tensor swiglu_columns(const at::Tensor& gate_up, const at::Tensor& column_amax) {
#if TITAN_CUDA
  if (ops::runs_kernels(gate_up)) return swiglu_columns_cuda(gate_up, column_amax);
#endif
  return unfused::swiglu_columns(gate_up, column_amax);
}

RowCopy swiglu_backward_(at::Tensor dh, at::Tensor gate_up, bool restore_h, bool with_column_amax) {
#if TITAN_CUDA
  if (ops::runs_kernels(gate_up))
    return swiglu_backward_cuda(dh, gate_up, restore_h, with_column_amax);
#endif
  static_cast<void>(restore_h);  // ops::swiglu_backward_ always does
  return unfused::swiglu_backward_(dh, gate_up, with_column_amax);
}

namespace unfused {

RmsNormCopy rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps,
                     bool with_column_amax) {
  const ops::RmsNormResult norm = ops::rms_norm(x, weight, eps);
  return {copy_rows(norm.y, with_column_amax), norm.rstd};
}

Float8Tensor rms_norm_columns(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& rstd,
                              const at::Tensor& column_amax) {
  const at::Tensor y = x.to(at::kFloat) * rstd.unsqueeze(1) * weight.to(at::kFloat);
  return quantize_columns(y.to(x.scalar_type()), column_amax);
}

GradientCopy rms_norm_backward(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& weight,
                               const at::Tensor& rstd, const at::Tensor& residual_gradient,
                               at::Tensor dweight, bool accumulate, at::Tensor* y,
                               bool with_column_amax) {
  const at::Tensor dx =
      ops::rms_norm_backward(dy, x, weight, rstd, residual_gradient, dweight, accumulate, y);
  return {dx, copy_rows(dx, with_column_amax)};
}

RowCopy swiglu(const at::Tensor& gate_up, bool with_column_amax) {
  return copy_rows(ops::swiglu(gate_up), with_column_amax);
}

Float8Tensor swiglu_columns(const at::Tensor& gate_up, const at::Tensor& column_amax) {
  return quantize_columns(ops::swiglu(gate_up), column_amax);
}

RowCopy swiglu_backward_(at::Tensor dh, at::Tensor gate_up, bool with_column_amax) {
  ops::swiglu_backward_(dh, gate_up);
  return copy_rows(gate_up, with_column_amax);
}

}  // namespace unfused
}  // namespace titan::float8
