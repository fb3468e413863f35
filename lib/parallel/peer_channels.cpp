#include "lib/parallel/peer_channels.hpp"

#include <ATen/ATen.h>

#include <deque>
#include <map>

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

}  // namespace

std::unique_ptr<PeerChannels> PeerChannels::open(const Group& group, const ops::Device& device,
                                                 int64_t largest_message, std::string& why_not) {
  if (device.is_cuda()) return open_copy_engine_channels(group, device, largest_message, why_not);
  return std::make_unique<GlooChannels>(group);
}

}  // namespace titan
