#include "lib/ops/rms_norm.hpp"

#include <ATen/ATen.h>

#include "lib/ops/device.hpp"
#include "lib/ops/element_type.hpp"

#if TITAN_CUDA
#include "kernels/norm/rms_norm.hpp"
#endif

namespace titan::ops {
namespace {

void check_matrix_and_weight(const at::Tensor& x, const at::Tensor& weight) {
  TITAN_CHECK(x.dim() == 2 && weight.dim() == 1 && weight.size(0) == x.size(1) &&
                  weight.scalar_type() == x.scalar_type(),
              "rms_norm: expected x[T,D] and weight[D] of one dtype, got x", x.sizes(), " ",
              x.scalar_type(), " and weight", weight.sizes(), " ", weight.scalar_type());
}

void check_backward(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& rstd,
                    const at::Tensor& residual_gradient, const at::Tensor& dweight) {
  const auto like_x = [&](const at::Tensor& tensor) {
    return tensor.sizes() == x.sizes() && tensor.scalar_type() == x.scalar_type();
  };
  TITAN_CHECK(like_x(dy) && (!residual_gradient.defined() || like_x(residual_gradient)),
              "rms_norm_backward: dy and residual_gradient must be like x", x.sizes(), " ",
              x.scalar_type(), ", got dy", dy.sizes(), " ", dy.scalar_type());
  TITAN_CHECK(rstd.numel() == x.size(0) && rstd.scalar_type() == compute_type(x) &&
                  dweight.numel() == x.size(1) && dweight.scalar_type() == compute_type(x),
              "rms_norm_backward: rstd[T] and dweight[D] must be ", compute_type(x), ", got rstd",
              rstd.sizes(), " ", rstd.scalar_type(), " and dweight", dweight.sizes(), " ",
              dweight.scalar_type());
}

#if TITAN_CUDA

template <class T>
void check_width(const char* op, int64_t cols) {
  TITAN_CHECK(cols <= kernels::kRmsNormMaxCols<T>, op, ": the CUDA kernel takes rows of at most ",
              kernels::kRmsNormMaxCols<T>, " elements of this dtype, got ", cols);
}

RmsNormResult forward_cuda(const at::Tensor& x, const at::Tensor& weight, double eps) {
  RmsNormResult result{at::empty_like(x), at::empty({x.size(0)}, x.options().dtype(at::kFloat))};
  for_element_type("rms_norm", x, [&]<class T>() {
    check_vectors<T>("rms_norm", "x", x);
    check_vectors<T>("rms_norm", "weight", weight);
    check_width<T>("rms_norm", x.size(1));
    kernels::rms_norm_forward<T>({.x = elements<const T>(x),
                                  .weight = elements<const T>(weight),
                                  .y = elements<T>(result.y),
                                  .rstd = elements<float>(result.rstd),
                                  .rows = x.size(0),
                                  .cols = x.size(1),
                                  .eps = static_cast<float>(eps)},
                                 current_stream());
  });
  return result;
}

at::Tensor backward_cuda(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& weight,
                         const at::Tensor& rstd, const at::Tensor& residual_gradient,
                         at::Tensor dweight, bool accumulate, at::Tensor* y) {
  constexpr const char* kOp = "rms_norm_backward";
  at::Tensor dx = at::empty_like(x);
  if (y != nullptr) *y = at::empty_like(x);
  if (x.size(0) == 0) {
    if (!accumulate) dweight.zero_();
    return dx;
  }
  for_element_type(kOp, x, [&]<class T>() {
    check_vectors<T>(kOp, "dy", dy);
    check_vectors<T>(kOp, "x", x);
    check_vectors<T>(kOp, "weight", weight);
    check_vectors<T>(kOp, "residual_gradient", residual_gradient);
    check_width<T>(kOp, x.size(1));
    TITAN_CHECK(rstd.is_contiguous() && dweight.is_contiguous(), kOp,
                ": rstd and dweight must be contiguous");
    const int64_t blocks = kernels::rms_norm_backward_blocks<T>(x.size(0), x.size(1));
    at::Tensor partials = at::empty({blocks, x.size(1)}, dweight.options());
    kernels::rms_norm_backward<T>({.dy = elements<const T>(dy),
                                   .x = elements<const T>(x),
                                   .weight = elements<const T>(weight),
                                   .rstd = elements<const float>(rstd),
                                   .residual_gradient = elements<const T>(residual_gradient),
                                   .dx = elements<T>(dx),
                                   .y = y != nullptr ? elements<T>(*y) : nullptr,
                                   .partials = elements<float>(partials),
                                   .dweight = elements<float>(dweight),
                                   .accumulate = accumulate,
                                   .rows = x.size(0),
                                   .cols = x.size(1)},
                                  current_stream());
  });
  return dx;
}

#endif

}  // namespace

RmsNormResult rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps) {
  check_matrix_and_weight(x, weight);
#if TITAN_CUDA
  if (runs_kernels(x)) return forward_cuda(x, weight, eps);
#endif
  return reference::rms_norm(x, weight, eps);
}

at::Tensor rms_norm_backward(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& weight,
                             const at::Tensor& rstd, const at::Tensor& residual_gradient,
                             at::Tensor dweight, bool accumulate, at::Tensor* y) {
  check_matrix_and_weight(x, weight);
  check_backward(dy, x, rstd, residual_gradient, dweight);
#if TITAN_CUDA
  if (runs_kernels(x)) {
    return backward_cuda(dy, x, weight, rstd, residual_gradient, dweight, accumulate, y);
  }
#endif
  return reference::rms_norm_backward(dy, x, weight, rstd, residual_gradient, dweight, accumulate,
                                      y);
}

namespace reference {

RmsNormResult rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps) {
  const at::Tensor wide = x.to(compute_type(x));
  const at::Tensor rstd = at::rsqrt(wide.square().mean(1) + eps);
  const at::Tensor y = wide * rstd.unsqueeze(1) * weight.to(compute_type(x));
  return {y.to(x.scalar_type()), rstd};
}

at::Tensor rms_norm_backward(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& weight,
                             const at::Tensor& rstd, const at::Tensor& residual_gradient,
                             at::Tensor dweight, bool accumulate, at::Tensor* y) {
  const at::ScalarType type = compute_type(x);
  const at::Tensor scale = weight.to(type);
  const at::Tensor row_rstd = rstd.unsqueeze(1);
  const at::Tensor normalised = x.to(type) * row_rstd;
  const at::Tensor wide_dy = dy.to(type);
  const at::Tensor g = wide_dy * scale;
  at::Tensor dx = row_rstd * (g - normalised * (g * normalised).mean(1, /*keepdim=*/true));
  if (residual_gradient.defined()) dx += residual_gradient;

  const at::Tensor sum = (wide_dy * normalised).sum(0);
  if (accumulate) {
    dweight += sum;
  } else {
    dweight.copy_(sum);
  }
  if (y != nullptr) *y = (normalised * scale).to(x.scalar_type());
  return dx.to(x.scalar_type());
}

}  // namespace reference
}  // namespace titan::ops
