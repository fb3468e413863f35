// What was built from what: for --version and the manifest of checkpoints.
#pragma once

#include <string>

namespace titan {

// Lines of "name version": titan-train and its commit, LibTorch, CUDA, cuBLASLt, cuDNN.
std::string version_text();

}  // namespace titan
