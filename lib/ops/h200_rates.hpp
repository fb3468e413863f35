// What one NVIDIA H200 (700 W, driver 580, cuBLAS 13.1, cuDNN 9.19) can do: the rates that floors
// divide by. Constants, measured once with loops of their own around cuBLASLt, cuDNN and a device
// copy; no bench of this project measures them anew. FLOPs and bytes per second; a floor on another
// chip means nothing.
#pragma once

namespace titan::ops::h200 {

inline constexpr double kCopyBytes = 4.30e12;  // read + written

// Products of a Llama-3 8B layer in short bursts (8192 tokens), before the clock falls: the best
// for bf16, the mean over the layer for float8.
inline constexpr double kMatmulFlops = 713e12;       // bf16
inline constexpr double kFloat8FastFlops = 1413e12;  // float8 with row scales, forward
inline constexpr double kFloat8FullFlops = 1277e12;  // dgrad and wgrad

// Causal attention, 2 x 8192 tokens, 32 heads of 128.
inline constexpr double kAttentionForwardFlops = 573e12;
inline constexpr double kAttentionBackwardFlops = 492e12;

}  // namespace titan::ops::h200
