// fp32 zeros on the current CUDA device, for kernels that join results to them. They are cut from a
// piece of 1 MiB that is cleared once for some hundred of them: a memset for each takes 3 us of the
// stream, as long as reading 12 MB. They start at multiples of 256 bytes.
//
// For the current stream, in its order; every thread cuts from pieces of its own. A piece lives
// until the last tensor that was cut from it is gone.
#pragma once

#include <ATen/core/Tensor.h>

namespace titan::ops {

// [count].
at::Tensor small_zeros(int64_t count);

}  // namespace titan::ops
