#include "lib/float8/matmul.hpp"

#include <ATen/ATen.h>

#include <atomic>

#include "lib/base/error.hpp"
#include "lib/float8/quantize.hpp"
#include "lib/ops/matmul_plans.hpp"

namespace titan::float8 {
namespace {

std::atomic<int64_t> executed = 0;

int64_t row_stride(const at::Tensor& tensor) {
  return tensor.size(0) > 1 ? tensor.stride(0) : tensor.size(1);
}

void emulate(const Float8Tensor& a, const Float8Tensor& b, at::Tensor out,
             const at::Tensor& addend) {
  at::Tensor left = dequantize(a);
  at::Tensor right = dequantize(b).t();
  out.copy_(addend.defined() ? at::addmm(addend.to(at::kFloat), left, right) : at::mm(left, right));
}

}  // namespace

void matmul_out(const ops::Device& device, const Float8Tensor& a, const Float8Tensor& b,
                at::Tensor out, const at::Tensor& addend, Accumulation accumulation,
                bool emulated) {
  const int64_t m = a.values.size(0), n = b.values.size(0), k = a.values.size(1);
  TITAN_CHECK(b.values.size(1) == k && out.size(0) == m && out.size(1) == n && out.stride(1) == 1,
              "float8 matmul: ", a.values.sizes(), " · ", b.values.sizes(), "ᵀ into ", out.sizes());
  ++executed;
  if (!device.is_cuda() || emulated) return emulate(a, b, out, addend);

  // cuBLASLt counts columns first: outᵀ = b · aᵀ.
  const ops::MatmulShape shape{
      .m = n,
      .n = m,
      .k = k,
      .transpose_a = true,
      .transpose_b = false,
      .lda = k,
      .ldb = k,
      .ldc = addend.defined() ? row_stride(addend) : row_stride(out),
      .ldd = row_stride(out),
      .input = ops::MatmulType::kFloat8E4M3,
      .output =
          out.scalar_type() == at::kFloat ? ops::MatmulType::kFloat32 : ops::MatmulType::kBFloat16,
      .has_c = addend.defined(),
      .fast_accumulation = accumulation == Accumulation::kFast,
  };
  device.matmul_plans().run(shape, {.a = b.values.const_data_ptr(),
                                    .b = a.values.const_data_ptr(),
                                    .c = addend.defined() ? addend.const_data_ptr() : nullptr,
                                    .d = out.data_ptr(),
                                    .a_scales = b.inverse_scales.const_data_ptr<float>(),
                                    .b_scales = a.inverse_scales.const_data_ptr<float>()});
}

int64_t matmuls_executed() { return executed; }

}  // namespace titan::float8
