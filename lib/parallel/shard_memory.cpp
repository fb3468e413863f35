#include "lib/parallel/shard_memory.hpp"

#include <ATen/ATen.h>

#include "lib/base/error.hpp"

namespace titan {

ShardMemory::ShardMemory(Group group, const ops::Device& device, int64_t bytes)
    : group_(std::move(group)), device_(device.torch()) {
  if (group_.size() == 1) return;
  memory_ = PeerMemory::open(group_, device, bytes, group_.size(), why_not_copied_);
}

int64_t ShardMemory::padded_bytes(const std::vector<int64_t>& shape, at::ScalarType dtype) {
  auto bytes = static_cast<int64_t>(c10::elementSize(dtype));
  for (const int64_t size : shape) bytes *= size;
  return (bytes + 511) / 512 * 512;
}

at::Tensor ShardMemory::zeros(const std::vector<int64_t>& shape, at::ScalarType dtype) {
  const auto options = at::TensorOptions().device(device_).dtype(dtype);
  if (!memory_) return at::zeros(shape, options);
  std::byte* place = memory_->of(memory_->rank()) + taken_;
  taken_ += padded_bytes(shape, dtype);
  TITAN_CHECK(taken_ <= memory_->bytes(), "more shards than were announced");
  return at::from_blob(place, shape, options);
}

void ShardMemory::written() {
  if (!memory_) return;
  ++times_written_;
  for (int64_t rank = 0; rank < memory_->size(); ++rank) {
    memory_->set(rank, memory_->rank(), times_written_);
  }
}

void ShardMemory::all_gather(const std::vector<Transfer>& transfers) const {
  if (!memory_) return group_.all_gather(transfers);
  // Each begins with its own rows and goes on with the next rank's: no two read the same ones.
  for (int64_t i = 0; i < memory_->size(); ++i) {
    const int64_t rank = (memory_->rank() + i) % memory_->size();
    memory_->wait(rank, times_written_);
    for (const Transfer& transfer : transfers) {
      const auto* in = static_cast<const std::byte*>(transfer.in.const_data_ptr());
      const int64_t place = in - memory_->of(memory_->rank());
      auto* out = static_cast<std::byte*>(transfer.out.mutable_data_ptr());
      memory_->copy(out + rank * static_cast<int64_t>(transfer.in.nbytes()),
                    memory_->of(rank) + place, transfer.in.nbytes());
    }
  }
}

}  // namespace titan
