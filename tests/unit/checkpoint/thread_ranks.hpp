// Ranks that are threads of the test: a HostGroup for each, and ways for one of them to fail.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "lib/parallel/host_group.hpp"

namespace titan::test {

class ThreadRanks {
 public:
  explicit ThreadRanks(int64_t size, std::chrono::milliseconds timeout = std::chrono::seconds(20));

  // Refers to this object. `before_exchange` is called on the rank as it comes to each exchange:
  // if it throws, the rank is gone, and the exchanges of all throw from then on.
  std::unique_ptr<HostGroup> group(int64_t rank, std::function<void()> before_exchange = {});

  // Runs the function on every rank and waits; rethrows what the first of them threw.
  void run(const std::function<void(int64_t rank)>& on_rank) const;

  int64_t size() const { return size_; }

 private:
  class Group;
  std::vector<std::string> exchange(int64_t rank, std::string message);
  void lose_a_rank();

  int64_t size_;
  std::chrono::milliseconds timeout_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::string> coming_, complete_;  // of the round that fills, of the last full one
  int64_t arrived_ = 0;
  int64_t rounds_ = 0;
  bool rank_lost_ = false;
};

}  // namespace titan::test
