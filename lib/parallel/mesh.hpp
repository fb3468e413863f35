// The ranks as a grid: dp_replicate x dp_shard x tp, the last varying fastest, as upstream's mesh.
// Ranks that differ in dp_shard hold different rows of the parameters, those that differ in
// dp_replicate the same; both see different data. Ranks that differ in tp share data and split the
// products of a layer among them.
#pragma once

#include <memory>

#include "lib/parallel/world.hpp"

namespace titan {

struct MeshShape {
  int64_t dp_replicate = 1;
  int64_t dp_shard = 1;
  int64_t tp = 1;

  int64_t size() const { return dp_replicate * dp_shard * tp; }
  int64_t data_ranks() const { return dp_replicate * dp_shard; }
  bool operator==(const MeshShape&) const = default;
};

struct Mesh {
  MeshShape shape;
  Group world;
  Group dp_replicate, dp_shard, tp;  // along each axis, through this rank
  Group watched_alone;               // where dp_shard has several ranks; see World

  // Which data this rank sees, of shape.data_ranks().
  int64_t data_rank() const { return dp_replicate.rank() * shape.dp_shard + dp_shard.rank(); }

  // A scalar of every data rank, such as a loss (equal on the tensor-parallel ranks that share its
  // data), summed over them: equal bits on all ranks.
  at::Tensor sum_over_data(const at::Tensor& scalar) const;
  // The largest over all ranks.
  at::Tensor max_over_all(const at::Tensor& values) const;
};

// The groups of this rank. Throws Error when the shape is not of the world's size.
Mesh make_mesh(const MeshShape& shape, World& world);

}  // namespace titan
