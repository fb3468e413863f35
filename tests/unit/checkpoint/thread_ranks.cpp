#include "tests/unit/checkpoint/thread_ranks.hpp"

#include <exception>
#include <thread>
#include <utility>

#include "lib/base/error.hpp"

namespace titan::test {

class ThreadRanks::Group : public HostGroup {
 public:
  Group(ThreadRanks& ranks, int64_t rank, std::function<void()> before_exchange)
      : ranks_(ranks), rank_(rank), before_exchange_(std::move(before_exchange)) {}

  int64_t rank() const override { return rank_; }
  int64_t size() const override { return ranks_.size(); }

  std::vector<std::string> exchange(std::string message) override {
    try {
      if (before_exchange_) before_exchange_();
    } catch (...) {
      ranks_.lose_a_rank();
      throw;
    }
    return ranks_.exchange(rank_, std::move(message));
  }

 private:
  ThreadRanks& ranks_;
  int64_t rank_;
  std::function<void()> before_exchange_;
};

ThreadRanks::ThreadRanks(int64_t size, std::chrono::milliseconds timeout)
    : size_(size), timeout_(timeout), coming_(static_cast<size_t>(size)) {}

std::unique_ptr<HostGroup> ThreadRanks::group(int64_t rank, std::function<void()> before_exchange) {
  return std::make_unique<Group>(*this, rank, std::move(before_exchange));
}

void ThreadRanks::run(const std::function<void(int64_t rank)>& on_rank) const {
  std::vector<std::exception_ptr> errors(static_cast<size_t>(size_));
  std::vector<std::thread> threads;
  for (int64_t rank = 0; rank < size_; ++rank) {
    threads.emplace_back([&, rank] {
      try {
        on_rank(rank);
      } catch (...) {
        errors[static_cast<size_t>(rank)] = std::current_exception();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const std::exception_ptr& error : errors) {
    if (error) std::rethrow_exception(error);
  }
}

void ThreadRanks::lose_a_rank() {
  std::lock_guard lock(mutex_);
  rank_lost_ = true;
  changed_.notify_all();
}

std::vector<std::string> ThreadRanks::exchange(int64_t rank, std::string message) {
  std::unique_lock lock(mutex_);
  const int64_t round = rounds_;
  coming_[static_cast<size_t>(rank)] = std::move(message);
  if (++arrived_ == size_ && !rank_lost_) {
    complete_ = std::exchange(coming_, std::vector<std::string>(static_cast<size_t>(size_)));
    arrived_ = 0;
    ++rounds_;
    changed_.notify_all();
  }
  changed_.wait_for(lock, timeout_, [&] { return rounds_ > round || rank_lost_; });
  if (rounds_ == round) {
    rank_lost_ = true;
    changed_.notify_all();
    throw Error("a rank is gone");
  }
  return complete_;
}

}  // namespace titan::test
