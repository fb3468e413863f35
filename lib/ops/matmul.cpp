#include "lib/ops/matmul.hpp"

#include <ATen/ATen.h>

#include "lib/base/error.hpp"
#include "lib/ops/matmul_plans.hpp"

namespace titan::ops {
namespace {

MatmulType matmul_type(const at::Tensor& tensor) {
  TITAN_CHECK(tensor.scalar_type() == at::kFloat || tensor.scalar_type() == at::kBFloat16,
              "matmul on CUDA takes fp32 and bf16, got ", tensor.scalar_type());
  return tensor.scalar_type() == at::kFloat ? MatmulType::kFloat32 : MatmulType::kBFloat16;
}

void check_matrix(const at::Tensor& tensor, const char* name) {
  TITAN_CHECK(tensor.dim() == 2 && tensor.stride(1) == 1, "matmul: ", name,
              " must be a matrix with contiguous rows, got sizes ", tensor.sizes(), " strides ",
              tensor.strides());
}

// A row stride is a leading dimension only where there are rows to stride over.
int64_t row_stride(const at::Tensor& tensor) {
  return tensor.size(0) > 1 ? tensor.stride(0) : tensor.size(1);
}

// Row-major out[M,N] = a · b, where a is [M,K] (or [K,M] if transposed) and b is [K,N] (or [N,K]).
// cuBLASLt counts columns first, so it is given outᵀ = bᵀ · aᵀ.
void run_plan(const Device& device, const at::Tensor& a, bool transpose_a, const at::Tensor& b,
              bool transpose_b, const at::Tensor& out, const at::Tensor& addend) {
  MatmulShape shape{
      .m = out.size(1),
      .n = out.size(0),
      .k = transpose_a ? a.size(0) : a.size(1),
      .transpose_a = transpose_b,
      .transpose_b = transpose_a,
      .lda = row_stride(b),
      .ldb = row_stride(a),
      .ldc = addend.defined() ? row_stride(addend) : row_stride(out),
      .ldd = row_stride(out),
      .input = matmul_type(a),
      .output = matmul_type(out),
      .has_c = addend.defined(),
  };
  device.matmul_plans().run(shape, {.a = b.const_data_ptr(),
                                    .b = a.const_data_ptr(),
                                    .c = addend.defined() ? addend.const_data_ptr() : nullptr,
                                    .d = out.data_ptr()});
}

}  // namespace

at::Tensor linear_forward(const Device& device, const at::Tensor& x, const at::Tensor& weight,
                          const at::Tensor& residual) {
  at::Tensor y = at::empty({x.size(0), weight.size(0)}, x.options());
  linear_forward_out(device, x, weight, y, residual);
  return y;
}

void linear_forward_out(const Device& device, const at::Tensor& x, const at::Tensor& weight,
                        at::Tensor y, const at::Tensor& residual) {
  check_matrix(x, "x");
  check_matrix(weight, "weight");
  check_matrix(y, "y");
  if (device.is_cuda()) {
    run_plan(device, x, false, weight, true, y, residual);
  } else if (residual.defined()) {
    at::addmm_out(y, residual, x, weight.t());
  } else {
    at::mm_out(y, x, weight.t());
  }
}

at::Tensor linear_backward_input(const Device& device, const at::Tensor& dy,
                                 const at::Tensor& weight) {
  at::Tensor dx = at::empty({dy.size(0), weight.size(1)}, dy.options());
  linear_backward_input_out(device, dy, weight, dx);
  return dx;
}

void linear_backward_input_out(const Device& device, const at::Tensor& dy, const at::Tensor& weight,
                               at::Tensor dx, const at::Tensor& addend) {
  check_matrix(dy, "dy");
  check_matrix(weight, "weight");
  check_matrix(dx, "dx");
  if (device.is_cuda()) {
    run_plan(device, dy, false, weight, false, dx, addend);
  } else if (addend.defined()) {
    at::addmm_out(dx, addend, dy, weight);
  } else {
    at::mm_out(dx, dy, weight);
  }
}

void linear_backward_weight(const Device& device, const at::Tensor& dy, const at::Tensor& x,
                            at::Tensor dweight, bool accumulate) {
  check_matrix(dy, "dy");
  check_matrix(x, "x");
  check_matrix(dweight, "dweight");
  if (device.is_cuda()) {
    run_plan(device, dy, true, x, false, dweight, accumulate ? dweight : at::Tensor());
    return;
  }
  // ATen's CPU matmul has no wider output: where dweight is wider than x, the operands are widened.
  at::Tensor left = dy.t().to(dweight.scalar_type());
  at::Tensor right = x.to(dweight.scalar_type());
  if (accumulate) {
    dweight.addmm_(left, right);
  } else {
    at::mm_out(dweight, left, right);
  }
}

}  // namespace titan::ops
