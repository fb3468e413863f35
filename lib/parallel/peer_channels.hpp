// Messages between two ranks, for communication that runs piece by piece beside the products that
// read or make the pieces (async tensor parallel). On CUDA every rank has an inbox for each other
// rank in its PeerMemory: sending writes into it over NVLink or PCIe, receiving copies out of it.
// On the CPU over gloo.
#pragma once

#include <memory>
#include <string>

#include "lib/ops/device.hpp"
#include "lib/parallel/group.hpp"

namespace titan {

class PeerChannels {
 public:
  // Collective over the group. Null, on all ranks alike, where the ranks' GPUs cannot reach each
  // other's memory; `why_not` then says why. largest_message: bytes.
  static std::unique_ptr<PeerChannels> open(const Group& group, const ops::Device& device,
                                            int64_t largest_message, std::string& why_not);
  virtual ~PeerChannels() = default;

  // On CUDA they enqueue on the current stream. Messages from one rank to another arrive in the
  // order in which they are sent; the receiver's tensor has the message's size. Both are contiguous
  // and stay alive until the stream is past them. A send waits for the receiver only when two
  // messages are unreceived: a rank receives what it is sent after it has sent.
  virtual void send(int64_t rank, const at::Tensor& message) = 0;
  virtual void receive(int64_t rank, const at::Tensor& message) = 0;
};

}  // namespace titan
