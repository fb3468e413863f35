#include "lib/ops/small_zeros.hpp"

#include "lib/base/error.hpp"

#if TITAN_CUDA
#include <ATen/ops/zeros.h>
#include <c10/cuda/CUDAStream.h>

#include <algorithm>
#include <unordered_map>

namespace titan::ops {
namespace {

constexpr int64_t kPiece = (1 << 20) / sizeof(float);
constexpr int64_t kAlignment = 256 / sizeof(float);

}  // namespace

at::Tensor small_zeros(int64_t count) {
  thread_local std::unordered_map<c10::Stream, at::Tensor> rests;  // of the pieces
  const c10::cuda::CUDAStream stream = c10::cuda::getCurrentCUDAStream();
  at::Tensor& rest = rests[stream.unwrap()];
  const int64_t cut = (count + kAlignment - 1) / kAlignment * kAlignment;
  if (!rest.defined() || rest.size(0) < cut) {
    rest = at::zeros({std::max(kPiece, cut)},
                     at::TensorOptions().device(stream.device()).dtype(at::kFloat));
  }
  const at::Tensor zeros = rest.narrow(0, 0, count);
  rest = rest.narrow(0, cut, rest.size(0) - cut);
  return zeros;
}

}  // namespace titan::ops

#else

namespace titan::ops {

at::Tensor small_zeros(int64_t) { throw Error("this build has no CUDA kernels"); }

}  // namespace titan::ops

#endif
