#include "lib/data/prefetch.hpp"

namespace titan {

Prefetcher::Prefetcher(BatchSource& source, int64_t bound)
    : source_(source),
      bound_(static_cast<size_t>(bound)),
      thread_([this](std::stop_token stop) { run(stop); }) {}

void Prefetcher::run(std::stop_token stop) {
  std::exception_ptr error;
  try {
    for (Item item; source_.next(item.batch); item = {}) {
      item.position = source_.position();
      std::unique_lock lock(mutex_);
      changed_.wait(lock, stop, [this] { return items_.size() < bound_; });
      if (stop.stop_requested()) return;
      items_.push_back(std::move(item));
      changed_.notify_all();
    }
  } catch (...) {
    error = std::current_exception();
  }
  std::lock_guard lock(mutex_);
  error_ = error;
  ended_ = true;
  changed_.notify_all();
}

bool Prefetcher::next(Batch& batch, DataPosition& position) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return !items_.empty() || ended_; });
  if (items_.empty()) {
    if (error_) std::rethrow_exception(error_);
    return false;
  }
  batch = std::move(items_.front().batch);
  position = items_.front().position;
  items_.pop_front();
  changed_.notify_all();
  return true;
}

}  // namespace titan
