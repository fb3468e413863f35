// Which chips the kernels run on.
#pragma once

#include <optional>
#include <string>

namespace titan::ops {

struct Chip {
  std::string name;          // "NVIDIA H200"
  int major = 0, minor = 0;  // compute capability
};

// CUDA devices that this process may use; 0 where this build has no kernels.
int visible_chips();

// CUDA device `index`; none where it is not visible or this build has no kernels.
std::optional<Chip> visible_chip(int index = 0);

// The kernels are built for compute capability 9.0 alone.
bool has_kernels(const Chip& chip);
// Throws InputError, with what to do, on any other.
void require_kernels(const Chip& chip);

}  // namespace titan::ops
