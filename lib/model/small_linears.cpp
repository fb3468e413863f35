#include "lib/model/small_linears.hpp"

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

// Of the sizes in the table 1024 x 1024 alone is slower; it stands for those below the next ones.
std::string too_small_for_rowwise_with_gw_hp(int64_t k, int64_t n) {
  if (n < 2048 && k < 2048) return concat("N ", n, " and K ", k, " < 2048");
  return "";
}

}  // namespace

std::string too_small_for_float8(Float8Recipe recipe, int64_t k, int64_t n) {
  return recipe == Float8Recipe::kRowwise ? too_small_for_rowwise(k, n)
                                          : too_small_for_rowwise_with_gw_hp(k, n);
}

}  // namespace titan
