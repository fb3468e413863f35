// Where a tensor lies in the whole tensor that it is a block of, for what is drawn by an element's
// index in the whole and so does not depend on how that is cut. For host and device.
//
//   whole [R, C]       block [rows, row_length] at (row, column), itself contiguous
//     . . . . . . .      a b c    first_index = row * C + column, row_stride = C
//     . . a b c . .      d e f    its element i is first_index + i / row_length * row_stride
//     . . d e f . .                                + i % row_length of the whole
#pragma once

#include <cstdint>

#include "kernels/common/host_device.hpp"

namespace titan::kernels {

// Where row_length equals row_stride, as by default, the elements are consecutive in the whole:
// whole rows, or any stretch of it.
struct TensorBlock {
  int64_t first_index = 0;
  int64_t row_length = 1;
  int64_t row_stride = 1;

  TITAN_HOST_DEVICE bool consecutive() const { return row_length == row_stride; }

  TITAN_HOST_DEVICE int64_t index(int64_t i) const {
    if (consecutive()) return first_index + i;
    const int64_t row = i / row_length;
    return first_index + row * row_stride + (i - row * row_length);
  }

  // Whether a contiguous tensor of `size` elements can be this block: whole rows, of which none
  // overlaps the next.
  bool fits(int64_t size) const {
    return first_index >= 0 && row_length > 0 && row_stride >= row_length && size % row_length == 0;
  }
};

}  // namespace titan::kernels
