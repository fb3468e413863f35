// A few threads that run submitted functions in order of submission; results come as futures.
#pragma once

#include <condition_variable>
#include <future>
#include <mutex>
#include <queue>
#include <thread>
#include <vector>

namespace titan::data {

template <class Result>
class WorkerPool {
 public:
  explicit WorkerPool(size_t threads) {
    for (size_t i = 0; i < threads; ++i) {
      threads_.emplace_back([this](std::stop_token stop) { work(stop); });
    }
  }

  // What the function throws comes out of the future's get().
  template <class Function>
  std::future<Result> submit(Function function) {
    std::packaged_task<Result()> task(std::move(function));
    std::future<Result> result = task.get_future();
    {
      std::lock_guard lock(mutex_);
      tasks_.push(std::move(task));
    }
    changed_.notify_one();
    return result;
  }

 private:
  void work(std::stop_token stop) {
    for (;;) {
      std::packaged_task<Result()> task;
      {
        std::unique_lock lock(mutex_);
        if (!changed_.wait(lock, stop, [this] { return !tasks_.empty(); })) return;
        if (stop.stop_requested()) return;
        task = std::move(tasks_.front());
        tasks_.pop();
      }
      task();
    }
  }

  std::mutex mutex_;
  std::condition_variable_any changed_;
  std::queue<std::packaged_task<Result()>> tasks_;
  std::vector<std::jthread> threads_;  // destroyed first: the threads use what is above
};

}  // namespace titan::data
