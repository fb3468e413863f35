#include "lib/parallel/mesh.hpp"

#include <ATen/ATen.h>

#include "lib/base/error.hpp"

namespace titan {
namespace {

// The ranks with this one's coordinates but for one axis, whose neighbours lie `stride` apart.
std::vector<int64_t> line_through(int64_t rank, int64_t stride, int64_t count) {
  const int64_t first = rank - rank / stride % count * stride;
  std::vector<int64_t> ranks;
  for (int64_t i = 0; i < count; ++i) ranks.push_back(first + i * stride);
  return ranks;
}

}  // namespace

at::Tensor Mesh::sum_over_data(const at::Tensor& scalar) const {
  if (shape.data_ranks() == 1) return scalar;
  at::Tensor sum = tp.rank() == 0 ? scalar.clone() : at::zeros_like(scalar);
  world.all_reduce_(sum);
  return sum;
}

at::Tensor Mesh::max_over_all(const at::Tensor& values) const {
  at::Tensor largest = values.clone();
  world.all_reduce_(largest, Reduction::kMax);
  return largest;
}

Mesh make_mesh(const MeshShape& shape, World& world) {
  TITAN_CHECK(shape.size() == world.size(), "a mesh of ", shape.size(), " ranks in a world of ",
              world.size());
  const int64_t rank = world.rank();
  Mesh mesh;
  mesh.shape = shape;
  mesh.world = world.group("world", line_through(rank, 1, shape.size()));
  mesh.dp_replicate = world.group(
      "dp_replicate", line_through(rank, shape.dp_shard * shape.tp, shape.dp_replicate));
  mesh.dp_shard = world.group("dp_shard", line_through(rank, shape.tp, shape.dp_shard));
  mesh.tp = world.group("tp", line_through(rank, 1, shape.tp));
  if (shape.dp_shard > 1) mesh.watched_alone = world.watched_alone();
  return mesh;
}

}  // namespace titan
