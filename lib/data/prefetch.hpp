// A thread that draws batches from a source ahead of their use, into a bounded queue.
#pragma once

#include <condition_variable>
#include <deque>
#include <exception>
#include <mutex>
#include <thread>

#include "lib/data/batch_source.hpp"

namespace titan {

class Prefetcher {
 public:
  // The source belongs to the thread while this object lives, but for its const members that do not
  // depend on the position. bound: batches in the queue, at least 1.
  Prefetcher(BatchSource& source, int64_t bound);

  // The next batch and the source's position after it; false at the end. Rethrows what the source
  // threw, now and on every later call.
  bool next(Batch& batch, DataPosition& position);

 private:
  struct Item {
    Batch batch;
    DataPosition position;
  };
  void run(std::stop_token stop);

  BatchSource& source_;
  size_t bound_;
  std::mutex mutex_;
  std::condition_variable_any changed_;
  std::deque<Item> items_;
  bool ended_ = false;
  std::exception_ptr error_;
  std::jthread thread_;  // destroyed first
};

}  // namespace titan
