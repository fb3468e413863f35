// Rotary position embedding of channel pairs (2i, 2i + 1), the convention of torchtitan's Llama
// models. bf16 or fp32 (CPU only: fp64); rotated in fp32 (fp64 for fp64) and rounded once. On CUDA
// head_dim is a multiple of 8 in bf16, 4 in fp32. Enqueues on the current stream. Throws
// titan::Error for wrong shapes.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

namespace titan::ops {

// Llama-3.1's stretching of long wavelengths w: those above original_max_position / low_freq_factor
// grow by `factor`, those below original_max_position / high_freq_factor stay, between them linear.
struct RopeScaling {
  double factor = 8;
  double low_freq_factor = 1;
  double high_freq_factor = 4;
  int64_t original_max_position = 8192;
};

struct RopeConfig {
  double theta = 500000;
  std::optional<RopeScaling> scaling;
};

// fp32 [seq_len, head_dim / 2, 2]: (cos, sin) of position · frequency_i, where frequency_i is
// theta^(-2i / head_dim), then scaled. Made on the CPU in fp32, operation by operation as
// torchtitan v0.2.2 does (precompute_freqs_cis), so that the values are the same, and copied to
// `device`.
at::Tensor rope_table(int64_t seq_len, int64_t head_dim, const RopeConfig& config,
                      at::Device device);

// Rotates q and k in place. qkv[T, (H + 2 KV) · head_dim] has rows q | k | v and T = B · seq_len:
// row r has position r % seq_len. The table may be longer than seq_len.
void rope_(at::Tensor qkv, const at::Tensor& table, int64_t heads, int64_t kv_heads,
           int64_t seq_len);

// The gradient of the packed rows before rope_(): [T, (H + 2 KV) · head_dim]. dq[B, S, H,
// head_dim], dk and dv[B, S, KV, head_dim] may have any strides with contiguous channels; all but
// the channels' must be multiples of 16 bytes on CUDA.
at::Tensor rope_backward(const at::Tensor& dq, const at::Tensor& dk, const at::Tensor& dv,
                         const at::Tensor& table);

// The same in plain ATen on any device: what runs on the CPU, and the oracle of the tests.
namespace reference {
void rope_(at::Tensor qkv, const at::Tensor& table, int64_t heads, int64_t kv_heads,
           int64_t seq_len);
at::Tensor rope_backward(const at::Tensor& dq, const at::Tensor& dk, const at::Tensor& dv,
                         const at::Tensor& table);
}  // namespace reference

}  // namespace titan::ops
