#include "lib/parallel/parameter.hpp"

#include <algorithm>
#include <functional>
#include <numeric>

namespace titan {
namespace {

int64_t volume(const std::vector<int64_t>& shape) {
  return std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>());
}

}  // namespace

ShardRows shard_rows(int64_t rows, int64_t ranks, int64_t rank) {
  const int64_t chunk = (rows + ranks - 1) / ranks;
  const int64_t first = std::min(rank * chunk, rows);
  return {.first = first, .count = std::min(chunk, rows - first), .chunk = chunk};
}

int64_t Parameter::size() const { return volume(shape); }

bool Parameter::only_float8() const {
  return !runs.empty() && std::all_of(runs.begin(), runs.end(), [](const ParameterRun& run) {
    return run.recipe.has_value();
  });
}

bool Parameter::split_by_tensor_parallel() const {
  int64_t whole = 0;
  for (const ParameterMember& member : members) whole += volume(member.global_shape);
  return whole != size();
}

std::vector<ShardPiece> Parameter::pieces() const {
  std::vector<ShardPiece> pieces;
  int64_t member_first = 0;  // row of the parameter
  for (size_t i = 0; i < members.size(); member_first += members[i++].rows) {
    const int64_t first = std::max(member_first, shard.first);
    const int64_t end = std::min(member_first + members[i].rows, shard.first + shard.count);
    if (first >= end) continue;
    ShardPiece piece{i, first - shard.first, shape, members[i].offset};
    piece.shape[0] = end - first;
    piece.offset[0] += first - member_first;
    pieces.push_back(std::move(piece));
  }
  return pieces;
}

ops::TensorBlock Parameter::global_block(const ShardPiece& piece) const {
  const std::vector<int64_t>& whole = members[piece.member].global_shape;
  if (whole.size() == 1) return {.first_index = piece.offset[0]};
  return {.first_index = piece.offset[0] * whole[1] + piece.offset[1],
          .row_length = piece.shape[1],
          .row_stride = whole[1]};
}

at::Tensor Parameter::member_rows(const at::Tensor& tensor, size_t index) const {
  int64_t first = 0;
  for (size_t earlier = 0; earlier < index; ++earlier) first += members[earlier].rows;
  return tensor.narrow(0, first, members[index].rows);
}

}  // namespace titan
