#include "lib/ops/rope.hpp"

#include <ATen/ATen.h>

#include <cmath>
#include <numbers>

#include "lib/ops/device.hpp"
#include "lib/ops/element_type.hpp"

#if TITAN_CUDA
#include "kernels/rope/rope.hpp"
#endif

namespace titan::ops {
namespace {

// number / tensor as Python computes it: a reciprocal and a product, each rounded.
at::Tensor divide(double number, const at::Tensor& tensor) { return tensor.reciprocal() * number; }

at::Tensor scale_frequencies(const at::Tensor& frequencies, const RopeScaling& scaling) {
  const auto original = static_cast<double>(scaling.original_max_position);
  const double longest = original / scaling.low_freq_factor;
  const double shortest = original / scaling.high_freq_factor;
  const at::Tensor wavelengths = divide(2 * std::numbers::pi, frequencies);
  const at::Tensor stretched = frequencies / scaling.factor;
  const at::Tensor share = (divide(original, wavelengths) - scaling.low_freq_factor) /
                           (scaling.high_freq_factor - scaling.low_freq_factor);
  const at::Tensor between = (1 - share) * frequencies / scaling.factor + share * frequencies;
  return at::where(wavelengths > longest, stretched,
                   at::where(wavelengths < shortest, frequencies, between));
}

// x[B, S, heads, head_dim] rotated forwards (direction 1) or backwards (-1), in the type of
// compute.
at::Tensor rotate(const at::Tensor& x, const at::Tensor& table, int direction) {
  const at::ScalarType type = compute_type(x);
  const at::Tensor pairs = x.to(type).unflatten(-1, {-1, 2});
  const at::Tensor real = pairs.select(-1, 0), imaginary = pairs.select(-1, 1);
  const at::Tensor rotation = table.narrow(0, 0, x.size(1)).to(type).unsqueeze(1);
  const at::Tensor cosine = rotation.select(-1, 0), sine = rotation.select(-1, 1) * direction;
  return at::stack({real * cosine - imaginary * sine, real * sine + imaginary * cosine}, -1)
      .flatten(-2);
}

void check_table(const char* op, const at::Tensor& table, int64_t seq_len, int64_t head_dim) {
  TITAN_CHECK(table.dim() == 3 && table.size(0) >= seq_len && table.size(1) * 2 == head_dim &&
                  table.size(2) == 2 && table.is_contiguous(),
              op, ": expected a table[S >= ", seq_len, ", ", head_dim / 2, ", 2], got ",
              table.sizes());
}

#if TITAN_CUDA

template <class T>
void check_for_kernel(const char* op, int64_t head_dim, const at::Tensor& table) {
  constexpr int64_t kWidth = 16 / sizeof(T);
  TITAN_CHECK(head_dim % kWidth == 0 && table.scalar_type() == at::kFloat && table.is_cuda(), op,
              ": the CUDA kernel takes head dimensions that are a multiple of ", kWidth,
              " and an fp32 table on the same device; got ", head_dim, " and a ",
              table.scalar_type(), " table on ", table.device());
}

void forward_cuda(const at::Tensor& qkv, const at::Tensor& table, int64_t rotated_heads,
                  int64_t head_dim, int64_t seq_len) {
  for_element_type("rope_", qkv, [&]<class T>() {
    check_vectors<T>("rope_", "qkv", qkv);
    check_for_kernel<T>("rope_", head_dim, table);
    kernels::rope_forward<T>({.qkv = elements<T>(qkv),
                              .table = elements<const float>(table),
                              .rows = qkv.size(0),
                              .row_stride = qkv.size(1),
                              .seq_len = static_cast<unsigned>(seq_len),
                              .heads = static_cast<int>(rotated_heads),
                              .head_dim = static_cast<int>(head_dim)},
                             current_stream());
  });
}

template <class T>
kernels::HeadsView<T> view_heads(const char* name, const at::Tensor& heads) {
  constexpr int64_t kWidth = 16 / sizeof(T);
  TITAN_CHECK(heads.stride(3) == 1 && heads.stride(0) % kWidth == 0 &&
                  heads.stride(1) % kWidth == 0 && heads.stride(2) % kWidth == 0 &&
                  reinterpret_cast<uintptr_t>(heads.const_data_ptr()) % 16 == 0,
              "rope_backward: ", name, " must have contiguous channels and lie at multiples of 16 ",
              "bytes; got sizes ", heads.sizes(), ", strides ", heads.strides());
  return {elements<const T>(heads), heads.stride(0), heads.stride(1), heads.stride(2)};
}

at::Tensor backward_cuda(const at::Tensor& dq, const at::Tensor& dk, const at::Tensor& dv,
                         const at::Tensor& table) {
  const int64_t batch = dq.size(0), seq_len = dq.size(1), heads = dq.size(2);
  const int64_t kv_heads = dk.size(2), head_dim = dq.size(3);
  at::Tensor dqkv = at::empty({batch * seq_len, (heads + 2 * kv_heads) * head_dim}, dq.options());
  for_element_type("rope_backward", dq, [&]<class T>() {
    check_for_kernel<T>("rope_backward", head_dim, table);
    kernels::rope_backward<T>({.dq = view_heads<T>("dq", dq),
                               .dk = view_heads<T>("dk", dk),
                               .dv = view_heads<T>("dv", dv),
                               .dqkv = elements<T>(dqkv),
                               .table = elements<const float>(table),
                               .batch = static_cast<unsigned>(batch),
                               .seq_len = static_cast<unsigned>(seq_len),
                               .heads = static_cast<int>(heads),
                               .kv_heads = static_cast<int>(kv_heads),
                               .head_dim = static_cast<int>(head_dim)},
                              current_stream());
  });
  return dqkv;
}

#endif

}  // namespace

at::Tensor rope_table(int64_t seq_len, int64_t head_dim, const RopeConfig& config,
                      at::Device device) {
  TITAN_CHECK(head_dim % 2 == 0, "rope_table: head_dim must be even, got ", head_dim);
  const at::Tensor exponents = at::arange(0, head_dim, 2, at::kFloat) / head_dim;
  at::Tensor frequencies = divide(1.0, at::pow(config.theta, exponents));
  if (config.scaling) frequencies = scale_frequencies(frequencies, *config.scaling);
  const at::Tensor angles = at::outer(at::arange(seq_len, at::kFloat), frequencies);
  return at::view_as_real(at::polar(at::ones_like(angles), angles)).to(device);
}

void rope_(at::Tensor qkv, const at::Tensor& table, int64_t heads, int64_t kv_heads,
           int64_t seq_len) {
  const int64_t all_heads = heads + 2 * kv_heads;
  TITAN_CHECK(qkv.dim() == 2 && qkv.size(1) % (2 * all_heads) == 0 && qkv.size(0) % seq_len == 0,
              "rope_: expected qkv[B * ", seq_len, ", ", all_heads, " * head_dim], got ",
              qkv.sizes());
  const int64_t head_dim = qkv.size(1) / all_heads;
  check_table("rope_", table, seq_len, head_dim);
#if TITAN_CUDA
  if (runs_kernels(qkv)) return forward_cuda(qkv, table, heads + kv_heads, head_dim, seq_len);
#endif
  reference::rope_(qkv, table, heads, kv_heads, seq_len);
}

at::Tensor rope_backward(const at::Tensor& dq, const at::Tensor& dk, const at::Tensor& dv,
                         const at::Tensor& table) {
  TITAN_CHECK(
      dq.dim() == 4 && dk.dim() == 4 && dv.sizes() == dk.sizes() && dk.size(0) == dq.size(0) &&
          dk.size(1) == dq.size(1) && dk.size(3) == dq.size(3) &&
          dk.scalar_type() == dq.scalar_type() && dv.scalar_type() == dq.scalar_type(),
      "rope_backward: expected dq[B, S, H, head_dim] and dk, dv[B, S, KV, head_dim] of one ",
      "dtype, got ", dq.sizes(), ", ", dk.sizes(), " and ", dv.sizes());
  check_table("rope_backward", table, dq.size(1), dq.size(3));
#if TITAN_CUDA
  if (runs_kernels(dq)) return backward_cuda(dq, dk, dv, table);
#endif
  return reference::rope_backward(dq, dk, dv, table);
}

namespace reference {

void rope_(at::Tensor qkv, const at::Tensor& table, int64_t heads, int64_t kv_heads,
           int64_t seq_len) {
  const int64_t head_dim = qkv.size(1) / (heads + 2 * kv_heads);
  const at::Tensor q_and_k = qkv.narrow(1, 0, (heads + kv_heads) * head_dim)
                                 .unflatten(0, {-1, seq_len})
                                 .unflatten(2, {heads + kv_heads, head_dim});
  q_and_k.copy_(rotate(q_and_k, table, 1));
}

at::Tensor rope_backward(const at::Tensor& dq, const at::Tensor& dk, const at::Tensor& dv,
                         const at::Tensor& table) {
  const auto rows = [&](const at::Tensor& heads) {
    return heads.to(dq.scalar_type()).flatten(2, 3).flatten(0, 1);
  };
  return at::cat({rows(rotate(dq, table, -1)), rows(rotate(dk, table, -1)), rows(dv)}, 1);
}

}  // namespace reference
}  // namespace titan::ops
