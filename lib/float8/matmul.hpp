// The one float8 product: out[M,N] = a · bᵀ (+ addend), for a stored [M,K] and b stored [N,K], both
// with a scale per row. Forward, dgrad and wgrad are this product of row and column copies:
//   Y[M,N]  = X row [M,K]     · W row [N,K]
//   dX[M,K] = dY row [M,N]    · W column [K,N]
//   dW[N,K] = dY column [N,M] · X column [K,M]
// On CUDA through cuBLASLt with outer-vector scales, or, where that would leave most of the GPU
// idle, as a scaled sum of products over parts of K; which of them depends on M, N and K alone.
// Elsewhere, and when `emulated`, in fp32 on the dequantized values. Accumulated in fp32 and
// rounded once.
#pragma once

#include "lib/float8/float8_tensor.hpp"
#include "lib/ops/device.hpp"

namespace titan::float8 {

enum class Accumulation { kFast, kFull };

// out: bf16 or fp32, rows contiguous, any row stride. `addend` has out's sizes and dtype and may be
// `out` itself. K is a multiple of 16 on CUDA, N too. Throws titan::Error for wrong shapes.
void matmul_out(const ops::Device& device, const Float8Tensor& a, const Float8Tensor& b,
                at::Tensor out, const at::Tensor& addend, Accumulation accumulation,
                bool emulated = false);

// Float8 products enqueued by this process so far.
int64_t matmuls_executed();

}  // namespace titan::float8
