// Parameters and the units in which they are gathered. A Parameter is one matrix (or vector) that
// computes as one; its members are the named tensors that users, checkpoints and filters see, lying
// one below another in its rows (wq, wk, wv; w1, w3). Most parameters have one member.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "lib/float8/recipe.hpp"
#include "lib/ops/initialise.hpp"

namespace titan {

struct ParameterMember {
  std::string name;  // "layers.0.attention.wq.weight"
  int64_t rows = 0;
  ops::Initializer initializer;
};

// Members of equal precision that lie side by side: one product.
struct ParameterRun {
  int64_t first_row = 0;
  int64_t rows = 0;
  std::optional<Float8Recipe> recipe;  // none: high precision
  bool emulated = false;               // float8 arithmetic in fp32 where the chip has none
};

struct Parameter {
  std::vector<ParameterMember> members;
  std::vector<ParameterRun> runs;  // of a linear's weight; none for other parameters
  std::vector<int64_t> shape;      // [rows of all members, columns], or [rows] for a vector

  // Declared above, allocated by the Sharder. On one rank each covers the whole shape.
  at::Tensor master;               // training.dtype
  at::Tensor exp_avg, exp_avg_sq;  // the optimizer's moments, in its state_dtype
  // mixed_precision_param: the master itself where the dtypes are equal, undefined where all runs
  // compute in float8.
  at::Tensor compute;
  at::Tensor gradient;  // defined from the unit's backward until the optimizer step

  int64_t size() const;
  // Whether products read float8 copies alone.
  bool only_float8() const;
  // The rows of `tensor` (master, moments, gradient) that belong to member `index`.
  at::Tensor member_rows(const at::Tensor& tensor, size_t index) const;
};

// What is gathered together: the embedding, a block, or the head (norm + output).
struct Unit {
  std::string name;
  std::vector<Parameter> parameters;
};

}  // namespace titan
