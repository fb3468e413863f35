// The label of positions that do not count in the loss (PyTorch's default ignore_index).
#pragma once

#include <cstdint>

namespace titan::kernels {

inline constexpr int32_t kIgnoredLabel = -100;

}  // namespace titan::kernels
