#include "lib/train/host_copies.hpp"

#include <ATen/ATen.h>

#include "lib/base/error.hpp"

#if TITAN_CUDA
#include <ATen/cuda/CUDAEvent.h>
#include <c10/cuda/CUDAGuard.h>
#include <cuda_runtime_api.h>
#endif

namespace titan {
namespace {

TensorSlice whole(std::string name, const at::Tensor& host) {
  const Shape shape = host.sizes().vec();
  return {std::move(name), host.scalar_type() == at::kBFloat16 ? Dtype::kBfloat16 : Dtype::kFloat32,
          shape,           Shape(shape.size(), 0),
          shape,           {static_cast<const std::byte*>(host.const_data_ptr()), host.nbytes()}};
}

#if TITAN_CUDA
// Exactly as large as asked for: ATen's pinned allocator would round gigabytes up to powers of two.
at::Tensor pinned_like(const at::Tensor& tensor) {
  void* memory = nullptr;
  const cudaError_t status = cudaHostAlloc(&memory, tensor.nbytes(), cudaHostAllocDefault);
  TITAN_CHECK(status == cudaSuccess, "cannot pin ", tensor.nbytes(), " bytes of host memory (",
              cudaGetErrorString(status), "); use checkpoint.async_mode = \"async\"");
  return at::from_blob(
      memory, tensor.sizes(), [](void* pointer) { cudaFreeHost(pointer); },
      at::TensorOptions().dtype(tensor.scalar_type()));
}
#endif

}  // namespace

#if TITAN_CUDA
struct HostCopies::Transfer {
  at::cuda::CUDAStream stream = at::cuda::getStreamFromPool();
  at::cuda::CUDAEvent done;
};
#else
struct HostCopies::Transfer {};
#endif

HostCopies::HostCopies(const ops::Device& device) : device_(device) {}
HostCopies::~HostCopies() = default;

at::Tensor HostCopies::host_copy(Kind kind, const at::Tensor& tensor, size_t slot) {
  if (slot == tensors_.size()) tensors_.emplace_back();
  at::Tensor& host = tensors_[slot];
  if (kind == Kind::kInPlace && tensor.is_cpu()) {
    host = tensor;
    return host;
  }
#if TITAN_CUDA
  if (kind == Kind::kPinned && tensor.is_cuda()) {
    const bool fits = host.defined() && host.sizes() == tensor.sizes() &&
                      host.scalar_type() == tensor.scalar_type();
    if (!fits) host = pinned_like(tensor);
    host.copy_(tensor, /*non_blocking=*/true);
    return host;
  }
#endif
  host = tensor.to(at::kCPU, /*non_blocking=*/false, /*copy=*/true);
  return host;
}

void HostCopies::take(Kind kind, const std::vector<Parameter*>& parameters, bool with_moments) {
  model_.clear();
  moments_.clear();
  auto copy_all = [&] {
    size_t slot = 0;
    for (const Parameter* parameter : parameters) {
      const at::Tensor master = host_copy(kind, parameter->master, slot++);
      for (size_t i = 0; i < parameter->members.size(); ++i) {
        model_.push_back(whole(parameter->members[i].name, parameter->member_rows(master, i)));
      }
      if (!with_moments) continue;
      const at::Tensor exp_avg = host_copy(kind, parameter->exp_avg, slot++);
      const at::Tensor exp_avg_sq = host_copy(kind, parameter->exp_avg_sq, slot++);
      for (size_t i = 0; i < parameter->members.size(); ++i) {
        const std::string& name = parameter->members[i].name;
        moments_.push_back(whole(name + ".exp_avg", parameter->member_rows(exp_avg, i)));
        moments_.push_back(whole(name + ".exp_avg_sq", parameter->member_rows(exp_avg_sq, i)));
      }
    }
  };
#if TITAN_CUDA
  if (kind == Kind::kPinned && device_.is_cuda()) {
    if (transfer_ == nullptr) transfer_ = std::make_unique<Transfer>();
    at::cuda::CUDAEvent updated;
    updated.record();
    updated.block(transfer_->stream);
    c10::cuda::CUDAStreamGuard guard(transfer_->stream);
    copy_all();
    transfer_->done.record(transfer_->stream);
    return;
  }
#endif
  copy_all();
}

void HostCopies::wait_sync() const {
#if TITAN_CUDA
  if (transfer_ != nullptr) transfer_->done.synchronize();
#endif
}

void HostCopies::order_before_update() const {
#if TITAN_CUDA
  if (transfer_ != nullptr) transfer_->done.block(at::cuda::getCurrentCUDAStream());
#endif
}

}  // namespace titan
