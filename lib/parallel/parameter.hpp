// Parameters and the units in which they are gathered. A Parameter is one matrix (or vector) that
// computes as one; its members are the named tensors that users, checkpoints and filters see, lying
// one below another in its rows (wq, wk, wv; w1, w3). Most parameters have one member.
//
// Ranks cut it twice. Tensor parallelism first: a rank computes with a block of every member, rows
// or columns of it, and that is what `shape` and the members' `rows` speak of. Then the rows of
// what is left are cut among the ranks along dp_shard, wherever they fall: a shard may begin in wq
// and end in wk. Each rank stores its shard; the whole is gathered when it is computed with.
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
  // The named tensor, and where in it the block of this tensor-parallel rank begins.
  std::vector<int64_t> global_shape, offset;
};

// Members of equal precision that lie side by side: one product.
struct ParameterRun {
  int64_t first_row = 0;
  int64_t rows = 0;
  std::optional<Float8Recipe> recipe;  // none: high precision
  bool emulated = false;               // float8 arithmetic in fp32 where the chip has none
};

// Rows of a parameter that one rank stores. All ranks but the last ones have `chunk` rows.
struct ShardRows {
  int64_t first = 0;
  int64_t count = 0;
  int64_t chunk = 0;
};
// Of `rows` rows, cut among `ranks` as torch.chunk does.
ShardRows shard_rows(int64_t rows, int64_t ranks, int64_t rank);

// The part of a member that lies in this rank's shard.
struct ShardPiece {
  size_t member = 0;
  int64_t first_row = 0;               // in the shard
  std::vector<int64_t> shape, offset;  // in the named tensor

  // Its rows of a tensor of the shard (master, moments, gradient).
  at::Tensor of(const at::Tensor& shard) const { return shard.narrow(0, first_row, shape[0]); }
};

struct Parameter {
  std::vector<ParameterMember> members;
  std::vector<ParameterRun> runs;  // of a linear's weight; none for other parameters
  std::vector<int64_t> shape;      // [rows of all members, columns], or [rows] for a vector

  // Declared above, given to this rank by the Sharder. Tensors of the shard have its rows.
  ShardRows shard;
  at::Tensor master;               // training.dtype
  at::Tensor exp_avg, exp_avg_sq;  // the optimizer's moments, in its state_dtype
  // mixed_precision_param: the master itself where the dtypes are equal, undefined where all runs
  // compute in float8 and one rank has all rows.
  at::Tensor compute;
  at::Tensor gradient;  // defined from the unit's backward until the optimizer step

  int64_t size() const;
  // Whether products read float8 copies alone.
  bool only_float8() const;
  // Whether tensor-parallel ranks hold different parts; else they all hold the same.
  bool split_by_tensor_parallel() const;
  // What of the members this rank stores, in order.
  std::vector<ShardPiece> pieces() const;
  // Where a piece's elements lie in the named tensor.
  ops::TensorBlock global_block(const ShardPiece& piece) const;
  // The rows of `tensor`, which has all rows of the parameter, that belong to member `index`.
  at::Tensor member_rows(const at::Tensor& tensor, size_t index) const;
};

// What is gathered together: the embedding, a block, or the head (norm + output).
struct Unit {
  std::string name;
  std::vector<Parameter> parameters;
  // Whether backward() computes the forward products too: a block that is recomputed, the head.
  bool backward_repeats_forward = false;
};

}  // namespace titan
