#include "lib/ops/gradient_norm.hpp"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include "lib/base/error.hpp"
#include "lib/ops/device.hpp"
#include "lib/ops/element_type.hpp"

#if TITAN_CUDA
#include "kernels/optim/gradient_norm.hpp"
#endif

namespace titan::ops {
namespace {

#if TITAN_CUDA

at::Tensor square_sum_cuda(const std::vector<at::Tensor>& tensors, at::Device device) {
  int64_t count = 0;
  for (const at::Tensor& tensor : tensors) count += kernels::square_sum_partials(tensor.numel());
  const auto options = at::TensorOptions().device(device).dtype(at::kDouble);
  const at::Tensor partials = at::empty({count}, options);
  auto* partial = elements<double>(partials);
  for (const at::Tensor& tensor : tensors) {
    for_element_type("square_sum", tensor, [&]<class T>() {
      kernels::square_sum<T>(elements<const T>(tensor), tensor.numel(), partial, current_stream());
    });
    partial += kernels::square_sum_partials(tensor.numel());
  }
  at::Tensor result = at::empty({}, options);
  kernels::add_partials(elements<const double>(partials), count, elements<double>(result),
                        current_stream());
  return result;
}

#endif

// Eight independent sums, so that additions do not wait for each other.
template <class T>
double square_sum_of(const T* values, int64_t count) {
  constexpr int kLanes = 8;
  double lanes[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (int k = 0; k < kLanes; ++k) {
      const auto value = static_cast<double>(values[i + k]);
      lanes[k] += value * value;
    }
  }
  double sum = 0.0;
  for (const double lane : lanes) sum += lane;
  for (; i < count; ++i) sum += static_cast<double>(values[i]) * static_cast<double>(values[i]);
  return sum;
}

// Chunks are of fixed size: the order of additions does not depend on the number of threads.
template <class T>
double square_sum_cpu(const at::Tensor& tensor) {
  constexpr int64_t kChunk = 64 * 1024;
  const auto* values = tensor.const_data_ptr<T>();
  const int64_t chunks = (tensor.numel() + kChunk - 1) / kChunk;
  std::vector<double> partials(static_cast<size_t>(chunks));
  at::parallel_for(0, chunks, 1, [&](int64_t begin, int64_t end) {
    for (int64_t chunk = begin; chunk < end; ++chunk) {
      const int64_t first = chunk * kChunk;
      partials[static_cast<size_t>(chunk)] =
          square_sum_of(values + first, std::min(kChunk, tensor.numel() - first));
    }
  });
  double sum = 0.0;
  for (const double partial : partials) sum += partial;
  return sum;
}

double square_sum_cpu(const at::Tensor& tensor) {
  switch (tensor.scalar_type()) {
    case at::kFloat:
      return square_sum_cpu<float>(tensor);
    case at::kBFloat16:
      return square_sum_cpu<at::BFloat16>(tensor);
    case at::kDouble:
      return square_sum_cpu<double>(tensor);
    default:
      throw Error(concat("square_sum: expected bf16, fp32 or fp64, got ", tensor.scalar_type()));
  }
}

}  // namespace

at::Tensor square_sum(const std::vector<at::Tensor>& tensors, at::Device device) {
  for (const at::Tensor& tensor : tensors) {
    TITAN_CHECK(tensor.is_contiguous() && tensor.device().type() == device.type(),
                "square_sum: expected contiguous tensors on ", device, ", got ", tensor.sizes(),
                " with strides ", tensor.strides(), " on ", tensor.device());
  }
#if TITAN_CUDA
  if (!tensors.empty() && runs_kernels(tensors.front())) return square_sum_cuda(tensors, device);
#endif
  if (!device.is_cpu()) return reference::square_sum(tensors, device);
  double sum = 0.0;
  for (const at::Tensor& tensor : tensors) sum += square_sum_cpu(tensor);
  return at::scalar_tensor(sum, at::kDouble);
}

namespace reference {

at::Tensor square_sum(const std::vector<at::Tensor>& tensors, at::Device device) {
  at::Tensor sum = at::zeros({}, at::TensorOptions().device(device).dtype(at::kDouble));
  for (const at::Tensor& tensor : tensors) {
    // In fp64 without a copy of the tensor in it.
    sum +=
        at::linalg_vector_norm(tensor, 2, at::OptionalIntArrayRef(), false, at::kDouble).square();
  }
  return sum;
}

}  // namespace reference

}  // namespace titan::ops
