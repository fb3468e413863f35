// Causal grouped-query attention over packed projections. cuDNN on CUDA for bf16, called by name so
// that no dispatcher can choose a slower kernel; memory-efficient attention on CUDA for fp32, which
// cuDNN lacks; ATen's CPU flash attention elsewhere. softmax scale = head_dim^-0.5.
#pragma once

#include <ATen/core/Tensor.h>

namespace titan::ops {

struct AttentionShape {
  int64_t batch = 0, seq_len = 0, heads = 0, kv_heads = 0, head_dim = 0;
};

// What backward needs beside q, k, v.
struct AttentionSaved {
  at::Tensor out;           // [T, H*head_dim], T = batch * seq_len
  at::Tensor logsumexp;     // fp32 [B, H, S] or as the kernel lays it out
  at::Tensor seed, offset;  // of a dropout that is never used; the kernels ask for them back
};

struct AttentionGradients {
  at::Tensor dq, dk, dv;  // [B, S, heads, head_dim]; k and v have kv_heads
};

// qkv: [T, (H + 2*KV) * head_dim], rows packed q | k | v, q and k already rotated.
AttentionSaved attention(const at::Tensor& qkv, const AttentionShape& shape);

// dout: [T, H*head_dim].
AttentionGradients attention_backward(const at::Tensor& dout, const at::Tensor& qkv,
                                      const AttentionSaved& saved, const AttentionShape& shape);

}  // namespace titan::ops
