// Stochastic rounding of the optimizer's moments to bf16, for host and device: up or down with the
// probabilities that make the mean exact. Rounding to nearest would lose every change of less than
// half a unit of the last place, 1/256 of the value, and the change of exp_avg_sq in a step is
// mostly smaller than that.
//
// The random bits are a function of the parameter, the step and the element's index in the whole
// parameter, never of launch, thread or shard:
//   element i: word i % 4 of Philox4x32-7(counter = (i / 4, step), key),
//   its low 16 bits for exp_avg, its high 16 bits for exp_avg_sq.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

#include "kernels/common/philox.hpp"
#include "kernels/common/tensor_block.hpp"

namespace titan::kernels {

struct MomentRounding {
  uint64_t key = 0;        // of (seed, parameter)
  TensorBlock block = {};  // of the whole parameter
};

// The bits of the elements 4 * block .. 4 * block + 3.
TITAN_HOST_DEVICE inline PhiloxBlock rounding_bits(uint64_t key, int64_t step, int64_t block) {
  const auto position = static_cast<uint64_t>(block), time = static_cast<uint64_t>(step);
  return philox<7>({{static_cast<uint32_t>(position), static_cast<uint32_t>(position >> 32),
                     static_cast<uint32_t>(time), static_cast<uint32_t>(time >> 32)}},
                   key);
}

// The fp32 `value` as a bf16's 16 bits; `random` < 2^16. A bf16 is the upper half of an fp32, so
// adding the random number to the lower half carries with probability lower half / 2^16: zeros and
// all that a bf16 can hold stay as they are, subnormals round like the rest. From the largest bf16
// on, 255/128 * 2^127, nothing is added: what is finite becomes that value and never infinite, and
// infinities and NaN (whose quiet bit is in the upper half) stay.
TITAN_HOST_DEVICE inline uint32_t round_stochastically(float value, uint32_t random) {
  constexpr float kLargest = 0x1.FEp127f;
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  return (std::fabs(value) < kLargest ? bits + random : bits) >> 16;
}

TITAN_HOST_DEVICE inline uint32_t exp_avg_bits(uint32_t word) { return word & 0xffffu; }
TITAN_HOST_DEVICE inline uint32_t exp_avg_sq_bits(uint32_t word) { return word >> 16; }

}  // namespace titan::kernels
