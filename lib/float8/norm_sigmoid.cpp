#include "lib/float8/norm_sigmoid.hpp"

#include <ATen/ATen.h>

#include "lib/base/error.hpp"
#include "lib/float8/outputs.hpp"
#include "lib/ops/device.hpp"
#include "lib/ops/element_type.hpp"

#if TITAN_CUDA
#include "kernels/quantize/layer_norm_copies.hpp"
#include "kernels/quantize/sigmoid_copies.hpp"
#endif

namespace titan::float8 {
namespace reference {
namespace {

// In fp32 (fp64 for fp64), unrounded.
at::Tensor normalised(const at::Tensor& x, const at::Tensor& mean, const at::Tensor& rstd) {
  return (x.to(mean.scalar_type()) - mean.unsqueeze(1)) * rstd.unsqueeze(1);
}

}  // namespace

at::Tensor layer_norm(const at::Tensor& x, const at::Tensor& mean, const at::Tensor& rstd) {
  return normalised(x, mean, rstd).to(x.scalar_type());
}

LayerNormResult layer_norm(const at::Tensor& x, double eps) {
  const at::Tensor wide = x.to(ops::compute_type(x));
  const at::Tensor mean = wide.mean(1);
  const at::Tensor rstd = ((wide - mean.unsqueeze(1)).square().mean(1) + eps).rsqrt();
  return {layer_norm(x, mean, rstd), {}, mean, rstd};
}

LayerNormResult layer_norm_copy(const at::Tensor& x, double eps, bool with_y,
                                bool with_column_amax) {
  LayerNormResult result = layer_norm(x, eps);
  result.copy = copy_rows(result.y, with_column_amax);
  if (!with_y) result.y.reset();
  return result;
}

at::Tensor layer_norm_backward(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& mean,
                               const at::Tensor& rstd) {
  const at::Tensor y = normalised(x, mean, rstd), wide = dy.to(y.scalar_type());
  const at::Tensor centred = wide - wide.mean(1, true) - y * (wide * y).mean(1, true);
  return (rstd.unsqueeze(1) * centred).to(x.scalar_type());
}

SigmoidGradient sigmoid_backward(const at::Tensor& dy, const at::Tensor& y, bool with_column_amax) {
  const at::Tensor wide = y.to(ops::compute_type(y));
  const at::Tensor dx = (dy.to(wide.scalar_type()) * (1 - wide) * wide).to(dy.scalar_type());
  return {dx, copy_rows(dx, with_column_amax)};
}

}  // namespace reference

#if TITAN_CUDA

namespace {

template <class T>
void check_matrix(const char* op, const char* name, const at::Tensor& tensor, const at::Tensor& x,
                  int64_t largest) {
  TITAN_CHECK(tensor.dim() == 2 && tensor.size(0) > 0 && tensor.sizes() == x.sizes() &&
                  tensor.scalar_type() == x.scalar_type() && tensor.size(1) <= largest,
              op, ": expected ", name, " like ", x.sizes(), " ", x.scalar_type(),
              " with at least one row and at most ", largest, " columns, got ", tensor.sizes(), " ",
              tensor.scalar_type());
  ops::check_vectors<T>(op, name, tensor);
  check_sixteens(op, "columns", tensor.size(1));
}

void check_statistics(const char* op, const at::Tensor& x, const at::Tensor& mean,
                      const at::Tensor& rstd) {
  check_fp32(op, "mean", mean, x.size(0));
  check_fp32(op, "rstd", rstd, x.size(0));
}

// Null where there is no copy.
kernels::RowCopyOutput output_or_none(const RowCopy& copy) {
  return copy.row.defined() ? output(copy) : kernels::RowCopyOutput{nullptr, nullptr, nullptr};
}

// `wanted`: y and the copy, each where it is to be written.
LayerNormResult layer_norm_cuda(const at::Tensor& x, double eps, LayerNormResult wanted) {
  LayerNormResult result = std::move(wanted);
  ops::for_element_type("layer_norm", x, [&]<class T>() {
    check_matrix<T>("layer_norm", "x", x, x, kernels::kLayerNormMaxCols<T>);
    const at::Tensor statistics = at::empty({2, x.size(0)}, x.options().dtype(at::kFloat));
    result.mean = statistics[0];
    result.rstd = statistics[1];
    kernels::layer_norm_rows<T>({.x = ops::elements<const T>(x),
                                 .y = ops::elements<T>(result.y),
                                 .mean = ops::elements<float>(result.mean),
                                 .rstd = ops::elements<float>(result.rstd),
                                 .out = output_or_none(result.copy),
                                 .rows = x.size(0),
                                 .cols = x.size(1),
                                 .eps = static_cast<float>(eps)},
                                ops::current_stream());
  });
  return result;
}

Float8Tensor layer_norm_columns_cuda(const at::Tensor& x, const at::Tensor& mean,
                                     const at::Tensor& rstd, const at::Tensor& column_amax) {
  constexpr const char* kOp = "layer_norm column copy";
  Float8Tensor copy;
  ops::for_element_type(kOp, x, [&]<class T>() {
    check_matrix<T>(kOp, "x", x, x, kernels::kLayerNormMaxCols<T>);
    check_sixteens(kOp, "rows", x.size(0));
    check_statistics(kOp, x, mean, rstd);
    check_fp32(kOp, "column_amax", column_amax, x.size(1));
    copy = allocate(x, x.size(1), x.size(0));
    kernels::layer_norm_columns<T>({.x = ops::elements<const T>(x),
                                    .mean = ops::elements<const float>(mean),
                                    .rstd = ops::elements<const float>(rstd),
                                    .out = output(copy, column_amax),
                                    .rows = x.size(0),
                                    .cols = x.size(1)},
                                   ops::current_stream());
  });
  return copy;
}

at::Tensor layer_norm_backward_cuda(const at::Tensor& dy, const at::Tensor& x,
                                    const at::Tensor& mean, const at::Tensor& rstd) {
  constexpr const char* kOp = "layer_norm_backward";
  const at::Tensor dx = at::empty_like(x);
  ops::for_element_type(kOp, x, [&]<class T>() {
    check_matrix<T>(kOp, "x", x, x, kernels::kLayerNormMaxCols<T>);
    check_matrix<T>(kOp, "dy", dy, x, kernels::kLayerNormMaxCols<T>);
    check_statistics(kOp, x, mean, rstd);
    kernels::layer_norm_backward<T>({.dy = ops::elements<const T>(dy),
                                     .x = ops::elements<const T>(x),
                                     .mean = ops::elements<const float>(mean),
                                     .rstd = ops::elements<const float>(rstd),
                                     .dx = ops::elements<T>(dx),
                                     .rows = x.size(0),
                                     .cols = x.size(1)},
                                    ops::current_stream());
  });
  return dx;
}

SigmoidGradient sigmoid_backward_cuda(const at::Tensor& dy, const at::Tensor& y,
                                      bool with_column_amax) {
  constexpr const char* kOp = "sigmoid_backward copy";
  SigmoidGradient result;
  ops::for_element_type(kOp, y, [&]<class T>() {
    if (y.size(1) > kernels::kSigmoidBackwardRowsMaxCols<T>) {
      const at::Tensor dx = at::sigmoid_backward(dy, y);
      result = {dx, copy_rows(dx, with_column_amax)};
      return;
    }
    check_matrix<T>(kOp, "y", y, y, kernels::kSigmoidBackwardRowsMaxCols<T>);
    check_matrix<T>(kOp, "dy", dy, y, kernels::kSigmoidBackwardRowsMaxCols<T>);
    result = {at::empty_like(y), allocate_row_copy(y, y.size(0), y.size(1), with_column_amax)};
    kernels::sigmoid_backward_rows<T>({.dy = ops::elements<const T>(dy),
                                       .y = ops::elements<const T>(y),
                                       .dx = ops::elements<T>(result.dx),
                                       .out = output(result.copy),
                                       .rows = y.size(0),
                                       .cols = y.size(1)},
                                      ops::current_stream());
  });
  return result;
}

}  // namespace

#endif

LayerNormResult layer_norm(const at::Tensor& x, double eps) {
#if TITAN_CUDA
  if (ops::runs_kernels(x)) return layer_norm_cuda(x, eps, {at::empty_like(x), {}, {}, {}});
#endif
  return reference::layer_norm(x, eps);
}

LayerNormResult layer_norm_copy(const at::Tensor& x, double eps, bool with_y,
                                bool with_column_amax) {
#if TITAN_CUDA
  if (ops::runs_kernels(x)) {
    return layer_norm_cuda(x, eps,
                           {with_y ? at::empty_like(x) : at::Tensor(),
                            allocate_row_copy(x, x.size(0), x.size(1), with_column_amax),
                            {},
                            {}});
  }
#endif
  return reference::layer_norm_copy(x, eps, with_y, with_column_amax);
}

Float8Tensor layer_norm_columns(const at::Tensor& x, const at::Tensor& mean, const at::Tensor& rstd,
                                const at::Tensor& column_amax) {
#if TITAN_CUDA
  if (ops::runs_kernels(x)) return layer_norm_columns_cuda(x, mean, rstd, column_amax);
#endif
  return quantize_columns(reference::layer_norm(x, mean, rstd), column_amax);
}

at::Tensor layer_norm_backward(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& mean,
                               const at::Tensor& rstd) {
#if TITAN_CUDA
  if (ops::runs_kernels(x)) return layer_norm_backward_cuda(dy, x, mean, rstd);
#endif
  return reference::layer_norm_backward(dy, x, mean, rstd);
}

SigmoidGradient sigmoid_backward(const at::Tensor& dy, const at::Tensor& y, bool with_column_amax) {
#if TITAN_CUDA
  if (ops::runs_kernels(y)) return sigmoid_backward_cuda(dy, y, with_column_amax);
#endif
  return reference::sigmoid_backward(dy, y, with_column_amax);
}

}  // namespace titan::float8
