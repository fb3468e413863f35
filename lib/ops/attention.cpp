#include "lib/ops/attention.hpp"

#include <ATen/ATen.h>

#include "lib/base/error.hpp"

namespace titan::ops {
namespace {

// The heads [first, first + count) of the packed rows as [B, count, S, head_dim], without a copy.
at::Tensor heads_of(const at::Tensor& packed, const AttentionShape& s, int64_t first,
                    int64_t count) {
  return packed.narrow(1, first * s.head_dim, count * s.head_dim)
      .unflatten(0, {s.batch, s.seq_len})
      .unflatten(2, {count, s.head_dim})
      .transpose(1, 2);
}

struct Heads {
  at::Tensor q, k, v;
};

Heads unpack(const at::Tensor& qkv, const AttentionShape& s) {
  return {heads_of(qkv, s, 0, s.heads), heads_of(qkv, s, s.heads, s.kv_heads),
          heads_of(qkv, s, s.heads + s.kv_heads, s.kv_heads)};
}

at::Tensor rows_of(const at::Tensor& heads_first) {  // [B, H, S, d] -> [T, H*d]
  return heads_first.transpose(1, 2).flatten(2, 3).flatten(0, 1);
}

bool runs_on_cudnn(const at::Tensor& tensor) {
  return tensor.is_cuda() && tensor.scalar_type() == at::kBFloat16;
}

// Memory-efficient attention wants as many k and v heads as q heads.
at::Tensor repeat_heads(const at::Tensor& kv, int64_t times) {
  return times == 1 ? kv : kv.repeat_interleave(times, 1);
}

at::Tensor sum_repeated_heads(const at::Tensor& gradient, int64_t times) {
  return times == 1 ? gradient : gradient.unflatten(1, {gradient.size(1) / times, times}).sum(2);
}

}  // namespace

AttentionSaved attention(const at::Tensor& qkv, const AttentionShape& s) {
  auto [q, k, v] = unpack(qkv, s);
  AttentionSaved saved;
  if (runs_on_cudnn(qkv)) {
    auto result = at::_scaled_dot_product_cudnn_attention(q, k, v, {}, /*compute_log_sumexp=*/true,
                                                          0.0, /*is_causal=*/true);
    saved = {rows_of(std::get<0>(result)), std::get<1>(result), std::get<6>(result),
             std::get<7>(result)};
  } else if (qkv.is_cuda()) {
    int64_t times = s.heads / s.kv_heads;
    auto [out, logsumexp, seed, offset] = at::_scaled_dot_product_efficient_attention(
        q, repeat_heads(k, times), repeat_heads(v, times), {}, /*compute_log_sumexp=*/true, 0.0,
        /*is_causal=*/true);
    saved = {rows_of(out), logsumexp, seed, offset};
  } else {
    auto [out, logsumexp] =
        at::_scaled_dot_product_flash_attention_for_cpu(q, k, v, 0.0, /*is_causal=*/true);
    saved = {rows_of(out), logsumexp, {}, {}};
  }
  return saved;
}

AttentionGradients attention_backward(const at::Tensor& dout, const at::Tensor& qkv,
                                      const AttentionSaved& saved, const AttentionShape& s) {
  auto [q, k, v] = unpack(qkv, s);
  at::Tensor dout_heads = heads_of(dout, s, 0, s.heads);
  at::Tensor out_heads = heads_of(saved.out, s, 0, s.heads);
  at::Tensor dq, dk, dv;
  if (runs_on_cudnn(qkv)) {
    std::tie(dq, dk, dv) = at::_scaled_dot_product_cudnn_attention_backward(
        dout_heads, q, k, v, out_heads, saved.logsumexp, saved.seed, saved.offset, {}, {}, {},
        s.seq_len, s.seq_len, 0.0, /*is_causal=*/true);
  } else if (qkv.is_cuda()) {
    int64_t times = s.heads / s.kv_heads;
    auto gradients = at::_scaled_dot_product_efficient_attention_backward(
        dout_heads, q, repeat_heads(k, times), repeat_heads(v, times), {}, out_heads,
        saved.logsumexp, saved.seed, saved.offset, 0.0, {true, true, true, false},
        /*is_causal=*/true);
    dq = std::get<0>(gradients);
    dk = sum_repeated_heads(std::get<1>(gradients), times);
    dv = sum_repeated_heads(std::get<2>(gradients), times);
  } else {
    std::tie(dq, dk, dv) = at::_scaled_dot_product_flash_attention_for_cpu_backward(
        dout_heads, q, k, v, out_heads, saved.logsumexp, 0.0, /*is_causal=*/true);
  }
  return {dq.transpose(1, 2), dk.transpose(1, 2), dv.transpose(1, 2)};
}

}  // namespace titan::ops
