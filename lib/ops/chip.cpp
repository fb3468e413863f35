#include "lib/ops/chip.hpp"

#include "lib/base/error.hpp"

#if TITAN_CUDA
#include <cuda_runtime_api.h>
#endif

namespace titan::ops {

std::optional<Chip> visible_chip([[maybe_unused]] int index) {
#if TITAN_CUDA
  int count = 0;
  cudaDeviceProp properties;
  const bool visible = cudaGetDeviceCount(&count) == cudaSuccess && index < count &&
                       cudaGetDeviceProperties(&properties, index) == cudaSuccess;
  cudaGetLastError();  // "no driver" is an answer here, not an error to be found by a later check
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
