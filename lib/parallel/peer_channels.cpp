#include "lib/parallel/peer_channels.hpp"

#include <ATen/ATen.h>

#include "lib/base/error.hpp"

namespace titan {

std::unique_ptr<PeerChannels> PeerChannels::open(const Group& group, const ops::Device& device,
                                                 int64_t largest_message, std::string& why_not) {
  const int64_t slot_bytes = (largest_message + 511) / 512 * 512;
  auto memory =
      PeerMemory::open(group, device, group.size() * kSlots * slot_bytes, kCounters, why_not);
  if (!memory) return nullptr;
  return std::unique_ptr<PeerChannels>(new PeerChannels(std::move(memory), slot_bytes));
}

PeerChannels::PeerChannels(std::shared_ptr<PeerMemory> memory, int64_t slot_bytes)
    : memory_(std::move(memory)),
      slot_bytes_(slot_bytes),
      sent_(static_cast<size_t>(memory_->size())),
      received_(static_cast<size_t>(memory_->size())) {}

void PeerChannels::send(int64_t rank, const at::Tensor& message) {
  TITAN_CHECK(static_cast<int64_t>(message.nbytes()) <= slot_bytes_, "a message of ",
              message.nbytes(), " bytes; the largest is ", slot_bytes_);
  const uint32_t number = sent_[static_cast<size_t>(rank)]++;
  if (number >= kSlots) memory_->wait(rank, kTaken, number - kSlots + 1);
  memory_->copy(slot(rank, memory_->rank(), number), message.const_data_ptr(), message.nbytes());
  memory_->set(rank, kArrived, number + 1);
}

void PeerChannels::receive(int64_t rank, const at::Tensor& message) {
  const uint32_t number = received_[static_cast<size_t>(rank)]++;
  memory_->wait(rank, kArrived, number + 1);
  memory_->copy(message.mutable_data_ptr(), slot(memory_->rank(), rank, number), message.nbytes());
  memory_->set(rank, kTaken, number + 1);
}

std::byte* PeerChannels::slot(int64_t owner, int64_t from, uint32_t message) const {
  return memory_->of(owner) + (from * kSlots + message % kSlots) * slot_bytes_;
}

}  // namespace titan
