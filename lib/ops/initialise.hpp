// Initial values of parameters: a function of (seed, parameter name, global index of the element)
// alone, so that every mesh starts from the same weights and a shard equals the slice of the whole.
// CPU and CUDA compute the same formula in fp64 and round once (kernels/init/initial_value.hpp).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string_view>

#include "kernels/common/tensor_block.hpp"

namespace titan::ops {

using kernels::TensorBlock;

struct Initializer {
  enum class Kind { kConstant, kNormal, kTruncatedNormal };
  Kind kind = Kind::kConstant;
  double mean = 0.0;  // the value of a constant
  double std = 1.0;
  double low = -2.0, high = 2.0;  // truncated normal: the absolute cut, not in units of std
};

// Fills out (fp32 or bf16; CPU only: fp64), contiguous, which is `block` of the whole parameter. On
// CUDA it enqueues on the current stream; on the CPU it uses ATen's threads. Throws titan::Error
// for other dtypes, an empty range of values and a block that is not whole rows.
void initialise_(at::Tensor out, const Initializer& initializer, uint64_t seed,
                 std::string_view parameter_name, const TensorBlock& block);

}  // namespace titan::ops
