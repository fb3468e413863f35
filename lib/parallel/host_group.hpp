// Ranks that exchange messages between hosts: what they agree on outside the training step (the
// job, checkpoints, when to stop). Knows nothing of tensors.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace titan {

// All methods are collective: every rank calls the same ones in the same order, from one thread at
// a time, and all return when all have called. They throw PeerError when a rank is gone or does not
// come within the timeout. This class is the group of one rank.
class HostGroup {
 public:
  virtual ~HostGroup() = default;

  virtual int64_t rank() const { return 0; }
  virtual int64_t size() const { return 1; }

  // Every rank's message, by rank. Messages may differ in length.
  virtual std::vector<std::string> exchange(std::string message) { return {std::move(message)}; }

  void barrier();
  // The message of rank 0.
  std::string broadcast(std::string message);
  // Element by element over the ranks, in place.
  void max_(std::span<int64_t> values);
};

}  // namespace titan
