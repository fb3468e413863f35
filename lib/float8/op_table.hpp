// The fused ops of this folder as rows of an op table (lib/ops/op_table.hpp). Their outputs are
// bit for bit those of `reference`, which is what a row means here: the plain ATen copies for the
// copies, the separate ops followed by the copies for the kernels that produce and copy at once.
#pragma once

#include "lib/ops/op_table.hpp"

namespace titan::float8 {

const std::vector<ops::Op>& float8_op_table();

}  // namespace titan::float8
