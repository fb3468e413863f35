#include "lib/float8/matmul.hpp"

#include <ATen/ATen.h>

#include <algorithm>
#include <atomic>

#include "lib/base/error.hpp"
#include "lib/float8/quantize.hpp"
#include "lib/ops/element_type.hpp"
#include "lib/ops/matmul_plans.hpp"

#if TITAN_CUDA
#include "kernels/common/cuda_check.hpp"
#include "kernels/quantize/sum_parts.hpp"
#endif

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

#if TITAN_CUDA

// cuBLASLt has one kernel for scales of rows and columns, whose tiles of 128 x 128 walk all of K:
// of a wgrad with few tiles most multiprocessors see nothing. Such a product is made in parts of K
// at the same time, each long enough to be worth its share of the sum, which takes 3 us
// (H200: [1024,1024] over 16384 in 2 parts 27 us instead of 42, [512,512] in 4 parts 10 instead of
// 41; with 128 tiles nothing is gained).
int64_t parts_of_k(int64_t m, int64_t n, int64_t k) {
  constexpr int64_t kTile = 128, kShortest = 4096, kMost = 4;
  const int64_t tiles = ((m + kTile - 1) / kTile) * ((n + kTile - 1) / kTile);
  int64_t parts = std::min({kernels::multiprocessor_count() / tiles, k / kShortest, kMost});
  while (parts > 1 && k % (parts * 16) != 0) --parts;
  return std::max<int64_t>(parts, 1);
}

// `shape` in parts, without scales, into fp32; then their scaled sum into `out`.
void matmul_in_parts(const ops::Device& device, ops::MatmulShape shape, int64_t parts,
                     const Float8Tensor& a, const Float8Tensor& b, const at::Tensor& out,
                     const at::Tensor& addend) {
  const int64_t m = out.size(0), n = out.size(1);
  const at::Tensor products = at::empty({parts, m, n}, device.options(at::kFloat));
  shape.parts = parts;
  shape.output = ops::MatmulType::kFloat32;
  shape.ldc = shape.ldd = n;
  shape.has_c = false;
  device.matmul_plans().run(
      shape,
      {.a = b.values.const_data_ptr(), .b = a.values.const_data_ptr(), .d = products.data_ptr()});
  ops::for_element_type("float8 matmul", out, [&]<class T>() {
    kernels::sum_parts<T>({.parts = products.const_data_ptr<float>(),
                           .count = parts,
                           .row_scales = a.inverse_scales.const_data_ptr<float>(),
                           .column_scales = b.inverse_scales.const_data_ptr<float>(),
                           .addend = ops::elements<const T>(addend),
                           .addend_stride = addend.defined() ? row_stride(addend) : 0,
                           .out = ops::elements<T>(out),
                           .out_stride = row_stride(out),
                           .rows = m,
                           .cols = n},
                          ops::current_stream());
  });
}

#endif

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
#if TITAN_CUDA
  if (const int64_t parts = parts_of_k(m, n, k); parts > 1) {
    return matmul_in_parts(device, shape, parts, a, b, out, addend);
  }
#endif
  device.matmul_plans().run(shape, {.a = b.values.const_data_ptr(),
                                    .b = a.values.const_data_ptr(),
                                    .c = addend.defined() ? addend.const_data_ptr() : nullptr,
                                    .d = out.data_ptr(),
                                    .a_scales = b.inverse_scales.const_data_ptr<float>(),
                                    .b_scales = a.inverse_scales.const_data_ptr<float>()});
}

int64_t matmuls_executed() { return executed; }

}  // namespace titan::float8
