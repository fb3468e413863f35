#include "tests/unit/checkpoint/sharded_models.hpp"

#include <gtest/gtest.h>

#include <algorithm>

#include "lib/base/error.hpp"

namespace titan::test {
namespace {

// Leaves what of the dimension lies in [begin, end).
void cut(Box& box, size_t dimension, int64_t begin, int64_t end) {
  const int64_t extent = box.shape[dimension];
  box.offset[dimension] = std::clamp<int64_t>(begin, 0, extent);
  box.shape[dimension] = std::clamp<int64_t>(end, 0, extent) - box.offset[dimension];
}

void chunk(Box& box, size_t dimension, int64_t part, int64_t parts) {
  const int64_t size = (box.shape[dimension] + parts - 1) / parts;
  cut(box, dimension, part * size, (part + 1) * size);
}

Box nothing() { return {{0}, {0}}; }

int64_t rows_of(const TensorInfo& info) { return info.shape.empty() ? 1 : info.shape[0]; }

}  // namespace

Layout grid(int64_t rows, int64_t columns) {
  auto block = [=](const TensorTable& tensors, const std::string& tensor, int64_t rank) {
    const Shape& shape = tensors.at(tensor).shape;
    Box box = whole(shape);
    if (shape.size() < 2 && rank % columns != 0) return nothing();
    if (shape.empty()) return rank == 0 ? box : nothing();
    chunk(box, 0, rank / columns, rows);
    if (shape.size() >= 2) chunk(box, 1, rank % columns, columns);
    return box;
  };
  return {concat("grid ", rows, "x", columns), rows * columns, block};
}

Layout stacked(int64_t ranks) {
  auto block = [=](const TensorTable& tensors, const std::string& tensor, int64_t rank) {
    int64_t all = 0, above = 0;
    for (const auto& [name, info] : tensors) {
      if (name < tensor) above += rows_of(info);
      all += rows_of(info);
    }
    const int64_t size = (all + ranks - 1) / ranks;
    const int64_t begin = rank * size - above, end = begin + size;
    const Shape& shape = tensors.at(tensor).shape;
    Box box = whole(shape);
    if (shape.empty()) return begin <= 0 && 0 < end ? box : nothing();
    cut(box, 0, begin, end);
    return box;
  };
  return {concat("stacked ", ranks), ranks, block};
}

std::vector<TensorSlice> slices_of(const TestModel& model, const Layout& layout, int64_t rank,
                                   std::vector<Bytes>& owner) {
  std::vector<TensorSlice> slices;
  for (const auto& [name, info] : model.infos) {
    const Box box = layout.block(model.infos, name, rank);
    if (volume(box.shape) == 0) continue;
    owner.push_back(model.block(name, box));
    slices.push_back({name, info.dtype, info.shape, box.offset, box.shape, owner.back()});
  }
  return slices;
}

Snapshot sharded_snapshot(int64_t step, uint64_t seed, const Layout& layout, int64_t rank) {
  auto owner = std::make_shared<std::vector<Bytes>>();
  Snapshot snapshot;
  snapshot.step = step;
  snapshot.model = slices_of(make_model(seed), layout, rank, *owner);
  snapshot.optimizer = slices_of(make_optimizer(seed), layout, rank, *owner);
  snapshot.state = {{"seed", seed}};
  snapshot.keep_alive = owner;
  return snapshot;
}

void expect_equal_blocks(const TensorSource& source, const TestModel& model, const Layout& layout,
                         int64_t rank) {
  for (const auto& [name, info] : model.infos) {
    const Box box = layout.block(model.infos, name, rank);
    if (volume(box.shape) == 0) continue;
    const Bytes expected = model.block(name, box);
    Bytes bytes(expected.size());
    source.read(name, box, bytes);
    EXPECT_TRUE(bytes == expected) << name << " on rank " << rank << " of " << layout.name;
  }
}

}  // namespace titan::test
