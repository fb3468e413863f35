// auto_filter_small_kn: the linears whose float8 copies cost more than their products gain, told by
// K and N alone.
#pragma once

#include <cstdint>
#include <string>

#include "lib/float8/recipe.hpp"

namespace titan {

// The threshold that x[M,K] · W[N,K]ᵀ does not reach, "N 1024 <= 2048", or nothing. For rowwise
// torchao's; for rowwise_with_gw_hp, where torchao has none, those of docs/float8_linear_h200.csv:
// every size in it that passes is faster than bf16 by 5 % or more.
std::string too_small_for_float8(Float8Recipe recipe, int64_t k, int64_t n);

}  // namespace titan
