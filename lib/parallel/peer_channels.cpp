#include "lib/parallel/peer_channels.hpp"

#include <ATen/ATen.h>

#include <deque>
#include <map>
#include <vector>

#include "lib/base/error.hpp"
#include "lib/parallel/peer_memory.hpp"

namespace titan {
namespace {

class GlooChannels final : public PeerChannels {
 public:
  explicit GlooChannels(Group group) : group_(std::move(group)) {}
  void send(int64_t rank, const at::Tensor& message) override {
    std::deque<std::function<void()>>& unreceived = sent_[rank];
    if (unreceived.size() == 2) {
      unreceived.front()();
      unreceived.pop_front();
    }
    // A copy: the caller may change its tensor once the call is over.
    unreceived.push_back(group_.start_send(rank, message.clone()));
  }

  void receive(int64_t rank, const at::Tensor& message) override { group_.receive(rank, message); }

 private:
  Group group_;
  std::map<int64_t, std::deque<std::function<void()>>> sent_;  // to each rank, maybe not yet there
};

// The inbox of rank r at this rank holds kSlots messages of r. Its counters, by r:
//   arrived   messages that r has put into it                              set by r
//   taken     of this rank's messages, those that r has taken out of its   set by r
class CopyEngineChannels final : public PeerChannels {
 public:
  static constexpr int64_t kSlots = 2;
  static constexpr int64_t kCountersPerRank = 2;

  CopyEngineChannels(std::unique_ptr<PeerMemory> memory, int64_t slot_bytes)
      : memory_(std::move(memory)),
        slot_bytes_(slot_bytes),
        sent_(static_cast<size_t>(memory_->size())),
        received_(static_cast<size_t>(memory_->size())) {}

  void send(int64_t rank, const at::Tensor& message) override {
    TITAN_CHECK(static_cast<int64_t>(message.nbytes()) <= slot_bytes_, "a message of ",
                message.nbytes(), " bytes; the largest is ", slot_bytes_);
    const uint32_t number = sent_[static_cast<size_t>(rank)]++;
    if (number >= kSlots) memory_->wait(taken(rank), number - kSlots + 1);
    memory_->copy(slot(rank, memory_->rank(), number), message.const_data_ptr(), message.nbytes());
    memory_->set(rank, arrived(memory_->rank()), number + 1);
  }

  void receive(int64_t rank, const at::Tensor& message) override {
    const uint32_t number = received_[static_cast<size_t>(rank)]++;
    memory_->wait(arrived(rank), number + 1);
    memory_->copy(message.mutable_data_ptr(), slot(memory_->rank(), rank, number),
                  message.nbytes());
    memory_->set(rank, taken(memory_->rank()), number + 1);
  }

 private:
  static int64_t arrived(int64_t from) { return kCountersPerRank * from; }
  static int64_t taken(int64_t by) { return kCountersPerRank * by + 1; }
  std::byte* slot(int64_t owner, int64_t from, uint32_t message) const {
    return memory_->of(owner) + (from * kSlots + message % kSlots) * slot_bytes_;
  }

  std::unique_ptr<PeerMemory> memory_;
  int64_t slot_bytes_;
  std::vector<uint32_t> sent_, received_;  // messages to and from each rank
};

}  // namespace

std::unique_ptr<PeerChannels> PeerChannels::open(const Group& group, const ops::Device& device,
                                                 int64_t largest_message, std::string& why_not) {
  why_not.clear();
  if (!device.is_cuda()) return std::make_unique<GlooChannels>(group);
  const int64_t slot_bytes = (largest_message + 511) / 512 * 512;
  auto memory =
      PeerMemory::open(group, device, group.size() * CopyEngineChannels::kSlots * slot_bytes,
                       group.size() * CopyEngineChannels::kCountersPerRank, why_not);
  if (!memory) return nullptr;
  return std::make_unique<CopyEngineChannels>(std::move(memory), slot_bytes);
}

}  // namespace titan
