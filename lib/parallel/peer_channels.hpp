// Messages between two ranks, for communication that runs piece by piece beside the products that
// read or make the pieces (async tensor parallel). Every rank has an inbox for each other rank in
// its PeerMemory: sending writes into it, over NVLink or PCIe, receiving copies out of it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "lib/ops/device.hpp"
#include "lib/parallel/group.hpp"
#include "lib/parallel/peer_memory.hpp"

namespace titan {

class PeerChannels {
 public:
  // Collective over the group. Null, on all ranks alike, where the ranks cannot reach each other's
  // memory; `why_not` then says why. largest_message: bytes.
  static std::unique_ptr<PeerChannels> open(const Group& group, const ops::Device& device,
                                            int64_t largest_message, std::string& why_not);

  // They enqueue on the current stream. Messages from one rank to another arrive in the order in
  // which they are sent; the receiver's tensor has the message's size. Both are contiguous and stay
  // alive until the stream is past them. A send waits for the receiver only when kSlots messages
  // are unreceived: a rank receives what it is sent after it has sent.
  void send(int64_t rank, const at::Tensor& message);
  void receive(int64_t rank, const at::Tensor& message);

 private:
  static constexpr int64_t kSlots = 2;  // messages that an inbox holds
  // What a rank tells another: how many messages it has put into its inbox there, and how many of
  // that one's it has taken out of its own.
  enum Counter : int64_t { kArrived, kTaken, kCounters };

  PeerChannels(std::shared_ptr<PeerMemory> memory, int64_t slot_bytes);
  std::byte* slot(int64_t owner, int64_t from, uint32_t message) const;

  std::shared_ptr<PeerMemory> memory_;
  int64_t slot_bytes_;
  std::vector<uint32_t> sent_, received_;  // messages to and from each rank
};

}  // namespace titan
