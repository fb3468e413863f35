// Boxes: blocks of a tensor, given by their offset in the global tensor and their shape. All
// reading of one layout into another (files written on one mesh, memory of another) is copying
// between boxes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace titan {

using Shape = std::vector<int64_t>;

// Elements; 1 for a scalar (no dimensions).
int64_t volume(const Shape& shape);

// "[4096, 14336]"
std::string to_string(const Shape& shape);

struct Box {
  Shape offset;
  Shape shape;
  bool operator==(const Box&) const = default;
};

// The whole of a tensor of this shape.
Box whole(const Shape& shape);

// Whether the box lies inside a tensor of this global shape: same number of dimensions, nothing
// negative.
bool inside(const Box& box, const Shape& global_shape);

// What both have in common; its volume is 0 when they are apart. Both have the same dimensions.
Box intersection(const Box& a, const Box& b);

// Whether the boxes fill a tensor of this shape exactly: each inside, none overlapping another, no
// gap.
bool tile_exactly(std::vector<Box> boxes, const Shape& global_shape);

// Contiguous bytes that go from one box's row-major memory to the other's.
struct ByteRun {
  uint64_t source;
  uint64_t target;
  uint64_t size;
};

// How to copy the common part of two boxes; ascending in `source`, neighbours joined.
std::vector<ByteRun> copy_runs(const Box& source, const Box& target, size_t element_size);

}  // namespace titan
