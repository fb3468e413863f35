#include "lib/train/version.hpp"

#include <torch/csrc/api/include/torch/version.h>

#if TITAN_CUDA
#include <cublasLt.h>
#include <cuda_runtime_api.h>
#endif

#include "lib/base/error.hpp"

namespace titan {

std::string version_text() {
  std::string text = concat("titan-train ", TITAN_VERSION, " (", TITAN_COMMIT, ")\nLibTorch ",
                            TORCH_VERSION, "\n");
#if TITAN_CUDA
  text += concat("CUDA ", CUDART_VERSION / 1000, ".", CUDART_VERSION % 1000 / 10, "\ncuBLASLt ",
                 cublasLtGetVersion(), "\n");
#else
  text += "built without CUDA kernels\n";
#endif
  return text;
}

}  // namespace titan
