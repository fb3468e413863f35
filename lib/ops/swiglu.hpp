// SwiGLU on the joined output of the gate and up projections. gate_up[T, 2F] holds gate in its
// first F columns and up in its last F. bf16 or fp32 (CPU only: fp64), computed in fp32 (fp64 for
// fp64), each output rounded once. On CUDA F is a multiple of 8 in bf16, 4 in fp32, and tensors are
// contiguous. Enqueues on the current stream. Throws titan::Error for wrong shapes.
#pragma once

#include <ATen/core/Tensor.h>

namespace titan::ops {

// h[T,F] = silu(gate) · up, with silu(g) = g / (1 + exp(-g)).
at::Tensor swiglu(const at::Tensor& gate_up);

// In place, so that the largest activations of a block need no second buffer: gate_up becomes its
// gradient, and dh[T,F], the gradient of h, becomes h again, bit for bit that of swiglu().
void swiglu_backward_(at::Tensor dh, at::Tensor gate_up);

// The same in plain ATen on any device: what runs on the CPU, and the oracle of the tests.
namespace reference {
at::Tensor swiglu(const at::Tensor& gate_up);
void swiglu_backward_(at::Tensor dh, at::Tensor gate_up);
}  // namespace reference

}  // namespace titan::ops
