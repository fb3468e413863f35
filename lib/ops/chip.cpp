#include "lib/ops/chip.hpp"

#include "lib/base/error.hpp"

#if TITAN_CUDA
#include <cuda_runtime_api.h>
#endif

namespace titan::ops {

int visible_chips() {
  int count = 0;
#if TITAN_CUDA
  if (cudaGetDeviceCount(&count) != cudaSuccess) count = 0;
  cudaGetLastError();  // "no driver" is an answer here, not an error to be found by a later check
#endif
  return count;
}

std::optional<Chip> visible_chip([[maybe_unused]] int index) {
#if TITAN_CUDA
  cudaDeviceProp properties;
  const bool visible = index < visible_chips() &&
                       cudaGetDeviceProperties(&properties, index) == cudaSuccess;
  cudaGetLastError();
  if (visible) {
    return Chip{properties.name, properties.major, properties.minor};
  }
#endif
  return std::nullopt;
}

bool has_kernels(const Chip& chip) { return chip.major == 9 && chip.minor == 0; }

void require_kernels(const Chip& chip) {
  if (has_kernels(chip)) return;
  throw InputError(concat(chip.name, " has compute capability ", chip.major, ".", chip.minor,
                          ", but the kernels are built for 9.0 (H100, H200); set "
                          "CUDA_VISIBLE_DEVICES= to run on the CPU"));
}

}  // namespace titan::ops
