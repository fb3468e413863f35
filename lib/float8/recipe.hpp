// The float8 recipes, by torchao's names.
#pragma once

namespace titan {

//                      Y = X Wᵀ              dX = dY W                 dW = dYᵀ X
// kRowwise             e4m3, row scales      e4m3, row scales          e4m3, row scales
// kRowwiseWithGwHp     e4m3, row scales      e4m3, W with one scale    bf16
// "Row scales": one for each row of an operand as it enters the product. Y accumulates fast
// (partial sums stay in the tensor cores), dX and dW in full (torchao,
// Float8LinearConfig.from_recipe_name).
enum class Float8Recipe { kRowwise, kRowwiseWithGwHp };

constexpr const char* recipe_name(Float8Recipe recipe) {
  return recipe == Float8Recipe::kRowwise ? "rowwise" : "rowwise_with_gw_hp";
}

}  // namespace titan
