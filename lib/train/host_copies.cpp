#include "lib/train/host_copies.hpp"

#include <ATen/ATen.h>

#include "lib/base/error.hpp"

namespace titan {
namespace {

// Whether this rank is the one that writes what it holds of the parameter.
bool writes(const Mesh& mesh, const Parameter& parameter) {
  if (mesh.dp_replicate.rank() != 0) return false;
  return mesh.tp.rank() == 0 || parameter.split_by_tensor_parallel();
}

// What a tensor takes of the pinned memory: what follows it begins at a cache line.
size_t pinned_bytes_of(const at::Tensor& tensor) { return (tensor.nbytes() + 63) / 64 * 64; }

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

size_t HostCopies::pinned_bytes(Sharder& sharder) {
  size_t bytes = 0;
  for_each_shard(sharder, /*with_moments=*/true,
                 [&](const Parameter&, const at::Tensor& shard, const char*) {
                   bytes += pinned_bytes_of(shard);
                 });
  return bytes;
}

void HostCopies::reserve_pinned(Sharder& sharder, size_t threads) {
  pinned_ = std::make_unique<PinnedMemory>(pinned_bytes(sharder), threads);
}

void HostCopies::lock_pinned_sync() {
  TITAN_CHECK(pinned_, "no pinned memory was reserved");
  if (on_cuda_) {
    pinned_->lock_sync();
  } else {
    pinned_->fill_sync();
  }
}

at::Tensor HostCopies::pinned_copy(const at::Tensor& tensor) {
  const size_t begin = pinned_used_;
  pinned_used_ += pinned_bytes_of(tensor);
  TITAN_CHECK(pinned_used_ <= pinned_->size(), "the pinned memory of ", pinned_->size(),
              " bytes was reserved for less than what is saved");
  return at::from_blob(pinned_->data() + begin, tensor.sizes(),
                       at::TensorOptions().dtype(tensor.scalar_type()))
      .copy_(tensor, /*non_blocking=*/true);
}

at::Tensor HostCopies::host_copy(Kind kind, const at::Tensor& tensor) {
  if (kind == Kind::kPinned) return pinned_copy(tensor);
  tensors_.push_back(kind == Kind::kInPlace && tensor.is_cpu()
                         ? tensor
                         : tensor.to(at::kCPU, /*non_blocking=*/false, /*copy=*/true));
  return tensors_.back();
}

void HostCopies::take(Kind kind, Sharder& sharder, bool with_moments) {
  model_.clear();
  moments_.clear();
  tensors_.clear();
  pinned_used_ = 0;
  auto copy_all = [&] {
    for_each_shard(
        sharder, with_moments,
        [&](const Parameter& parameter, const at::Tensor& shard, const std::string& suffix) {
          const at::Tensor host = host_copy(kind, shard);
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
    lock_pinned_sync();
    copied_ = stream_.run(copy_all);
  } else {
    copy_all();
  }
}

}  // namespace titan
