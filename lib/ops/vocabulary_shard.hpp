// The part of a vocabulary that one rank of a tensor-parallel group holds: consecutive rows of the
// embedding's table, consecutive columns of the logits. How many is the tensor's own size.
#pragma once

#include <cstdint>

namespace titan::ops {

struct VocabularyShard {
  int64_t first = 0;  // the token id of the first row or column here
  int64_t whole = 0;  // token ids of the whole vocabulary: 0 .. whole - 1
};

}  // namespace titan::ops
