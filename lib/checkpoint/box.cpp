#include "lib/checkpoint/box.hpp"

#include <algorithm>

#include "lib/base/error.hpp"

namespace titan {
namespace {

// Bytes from the start of the box's memory to the element at `position` (in the global tensor).
uint64_t byte_offset(const Box& box, const Shape& position, size_t element_size) {
  uint64_t element = 0;
  for (size_t d = 0; d < position.size(); ++d) {
    element = element * static_cast<uint64_t>(box.shape[d]) +
              static_cast<uint64_t>(position[d] - box.offset[d]);
  }
  return element * element_size;
}

// Moves `position` to the start of the next row of `box`; false after the last.
bool next_row(const Box& box, Shape& position) {
  for (size_t d = position.size() - 1; d-- > 0;) {
    if (++position[d] < box.offset[d] + box.shape[d]) return true;
    position[d] = box.offset[d];
  }
  return false;
}

}  // namespace

int64_t volume(const Shape& shape) {
  int64_t elements = 1;
  for (int64_t extent : shape) elements *= extent;
  return elements;
}

std::string to_string(const Shape& shape) {
  std::string text = "[";
  for (size_t d = 0; d < shape.size(); ++d) text += concat(d == 0 ? "" : ", ", shape[d]);
  return text + "]";
}

Box whole(const Shape& shape) { return {Shape(shape.size(), 0), shape}; }

bool inside(const Box& box, const Shape& global_shape) {
  if (box.offset.size() != global_shape.size() || box.shape.size() != global_shape.size())
    return false;
  for (size_t d = 0; d < global_shape.size(); ++d) {
    if (box.offset[d] < 0 || box.shape[d] < 0) return false;
    if (box.shape[d] > global_shape[d] || box.offset[d] > global_shape[d] - box.shape[d])
      return false;
  }
  return true;
}

Box intersection(const Box& a, const Box& b) {
  Box common = a;
  for (size_t d = 0; d < a.shape.size(); ++d) {
    int64_t end = std::min(a.offset[d] + a.shape[d], b.offset[d] + b.shape[d]);
    common.offset[d] = std::max(a.offset[d], b.offset[d]);
    common.shape[d] = std::max<int64_t>(0, end - common.offset[d]);
  }
  return common;
}

bool tile_exactly(std::vector<Box> boxes, const Shape& global_shape) {
  int64_t filled = 0;
  for (const Box& box : boxes) {
    if (!inside(box, global_shape)) return false;
    filled += volume(box.shape);
  }
  if (filled != volume(global_shape)) return false;
  if (global_shape.empty()) return true;
  // Sorted by first row, a box can only overlap those that follow until one starts below its last
  // row.
  std::ranges::sort(boxes, {}, &Box::offset);
  for (size_t i = 0; i < boxes.size(); ++i) {
    int64_t end = boxes[i].offset[0] + boxes[i].shape[0];
    for (size_t j = i + 1; j < boxes.size() && boxes[j].offset[0] < end; ++j) {
      if (volume(intersection(boxes[i], boxes[j]).shape) > 0) return false;
    }
  }
  return true;
}

std::vector<ByteRun> copy_runs(const Box& source, const Box& target, size_t element_size) {
  Box common = intersection(source, target);
  if (volume(common.shape) == 0) return {};
  uint64_t row_bytes = common.shape.empty() ? element_size : common.shape.back() * element_size;
  std::vector<ByteRun> runs;
  Shape position = common.offset;
  do {
    ByteRun run{byte_offset(source, position, element_size),
                byte_offset(target, position, element_size), row_bytes};
    if (!runs.empty() && runs.back().source + runs.back().size == run.source &&
        runs.back().target + runs.back().size == run.target) {
      runs.back().size += run.size;
    } else {
      runs.push_back(run);
    }
  } while (!position.empty() && next_row(common, position));
  return runs;
}

}  // namespace titan
