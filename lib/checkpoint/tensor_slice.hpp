// A block of a tensor in host memory, as one rank holds it: what a checkpoint is written from.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "lib/checkpoint/box.hpp"
#include "lib/checkpoint/dtype.hpp"

namespace titan {

struct TensorSlice {
  std::string name;    // global, as in torchtitan: "layers.0.attention.wq.weight"
  Dtype dtype;         // the same on all ranks
  Shape global_shape;  // of the whole tensor
  Shape offset;        // of this block in the tensor; all zero on one process
  Shape shape;  // of this block; one extent may be 0 (a rank without rows): nothing is written
  std::span<const std::byte> bytes;  // row-major, dense: volume(shape) * byte_size(dtype)

  Box box() const { return {offset, shape}; }
};

}  // namespace titan
