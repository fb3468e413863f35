#include "lib/model/small_linears.hpp"

#include <algorithm>

#include "lib/base/error.hpp"

namespace titan {
namespace {

// torchao's (float8_linear_utils.py, _auto_filter_for_recipe).
std::string too_small_for_rowwise(int64_t k, int64_t n) {
  if (n <= 2048) return concat("N ", n, " <= 2048");
  if (k <= 1024) return concat("K ", k, " <= 1024");
  if (n <= 4096 && k <= 2048) return concat("N ", n, " <= 4096 and K ", k, " <= 2048");
  return "";
}

// Keeps those sizes of the table that gain at least 5 %: two runs of the bench differ by some
// percent.
std::string too_small_for_rowwise_with_gw_hp(int64_t k, int64_t n) {
  if (std::min(k, n) >= 2048 || std::max(k, n) >= 4096) return "";
  return concat("K ", k, " and N ", n, " < 4096, one < 2048");
}

}  // namespace

std::string too_small_for_float8(Float8Recipe recipe, int64_t k, int64_t n) {
  return recipe == Float8Recipe::kRowwise ? too_small_for_rowwise(k, n)
                                          : too_small_for_rowwise_with_gw_hp(k, n);
}

}  // namespace titan
