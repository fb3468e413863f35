// Times the products of a linear, in bf16 and in float8 with row scales, back to back on the GPU.
// The ceiling of each kind of product is that of an 8192 x 8192 x 8192 one, measured alike.
#pragma once

#include <string>

#include "lib/ops/device.hpp"

namespace titan::float8 {

struct MatmulRates {
  double forward = 0;           // TF/s
  double forward_residual = 0;  // with a residual added
  double dgrad = 0;
  double wgrad = 0;  // in bf16 as the products before it
};

// Of x[M,K] · W[N,K]ᵀ and its backward. Quantizing is not counted. Throws InputError on the CPU.
MatmulRates time_bf16_matmuls(const ops::Device& device, int64_t m, int64_t n, int64_t k);
MatmulRates time_float8_matmuls(const ops::Device& device, int64_t m, int64_t n, int64_t k);

// "w13   16384  28672   4096  float8   1244  92 %   ...": TF/s and the share of the ceiling.
std::string format_header();
std::string format(const std::string& name, int64_t m, int64_t n, int64_t k, const char* precision,
                   const MatmulRates& rates, const MatmulRates& ceiling);

}  // namespace titan::float8
