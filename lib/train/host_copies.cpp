#include "lib/train/host_copies.hpp"

#include <ATen/ATen.h>

#include "lib/base/error.hpp"

#if TITAN_CUDA
#include <cuda_runtime_api.h>
#endif

namespace titan {
namespace {

// Whether this rank is the one that writes what it holds of the parameter.
bool writes(const Mesh& mesh, const Parameter& parameter) {
  if (mesh.dp_replicate.rank() != 0) return false;
  return mesh.tp.rank() == 0 || parameter.split_by_tensor_parallel();
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

// Calls `use` with every shard that this rank writes, and the ending of its slices' names.
template <class Use>
void for_each_shard(Sharder& sharder, bool with_moments, Use use) {
  for (const Parameter* parameter : sharder.parameters()) {
    if (!writes(sharder.mesh(), *parameter) || parameter->shard.count == 0) continue;
    use(*parameter, parameter->master, "");
    if (!with_moments) continue;
    use(*parameter, parameter->exp_avg, ".exp_avg");
    use(*parameter, parameter->exp_avg_sq, ".exp_avg_sq");
  }
}

}  // namespace

at::Tensor& HostCopies::pinned(const at::Tensor& tensor, size_t slot) {
  if (slot == tensors_.size()) tensors_.emplace_back();
  at::Tensor& host = tensors_[slot];
#if TITAN_CUDA
  const bool fits = host.defined() && host.sizes() == tensor.sizes() &&
                    host.scalar_type() == tensor.scalar_type();
  if (!fits) host = pinned_like(tensor);
#endif
  return host;
}

void HostCopies::reserve_pinned(Sharder& sharder) {
  size_t slot = 0;
  for_each_shard(sharder, /*with_moments=*/true,
                 [&](const Parameter&, const at::Tensor& shard, const char*) {
                   if (shard.is_cuda()) pinned(shard, slot++);
                 });
}

at::Tensor HostCopies::host_copy(Kind kind, const at::Tensor& tensor, size_t slot) {
  if (kind == Kind::kPinned && tensor.is_cuda()) {
    return pinned(tensor, slot).copy_(tensor, /*non_blocking=*/true);
  }
  if (slot == tensors_.size()) tensors_.emplace_back();
  tensors_[slot] = kind == Kind::kInPlace && tensor.is_cpu()
                       ? tensor
                       : tensor.to(at::kCPU, /*non_blocking=*/false, /*copy=*/true);
  return tensors_[slot];
}

void HostCopies::take(Kind kind, Sharder& sharder, bool with_moments) {
  model_.clear();
  moments_.clear();
  auto copy_all = [&] {
    size_t slot = 0;
    for_each_shard(
        sharder, with_moments,
        [&](const Parameter& parameter, const at::Tensor& shard, const std::string& suffix) {
          const at::Tensor host = host_copy(kind, shard, slot++);
          std::vector<TensorSlice>& slices = suffix.empty() ? model_ : moments_;
          for (const ShardPiece& piece : parameter.pieces()) {
            const ParameterMember& member = parameter.members[piece.member];
            const at::Tensor rows = piece.of(host);
            slices.push_back(
                {member.name + suffix,
                 rows.scalar_type() == at::kBFloat16 ? Dtype::kBfloat16 : Dtype::kFloat32,
                 member.global_shape,
                 piece.offset,
                 piece.shape,
                 {static_cast<const std::byte*>(rows.const_data_ptr()), rows.nbytes()}});
          }
        });
  };
  copied_ = {};
  if (kind == Kind::kPinned) {
    copied_ = stream_.run(copy_all);
  } else {
    copy_all();
  }
}

}  // namespace titan
