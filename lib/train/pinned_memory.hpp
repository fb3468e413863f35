// Page-locked host memory of many gigabytes, which the device copies into at the full speed of its
// link while the host does other things.
// cudaHostAlloc would take 0.4 s a GiB, and no kernel can be launched meanwhile. Here threads touch
// huge pages in the background (0.02 s a GiB with 8 of them), and only locking these holds launches
// up (0.02 s a GiB). One thread calls.
#pragma once

#include <atomic>
#include <cstddef>
#include <thread>
#include <vector>

namespace titan {

class PinnedMemory {
 public:
  // Returns at once; this many threads begin to make the pages. Throws InputError when the process
  // may not have so much memory.
  PinnedMemory(size_t bytes, size_t threads);
  ~PinnedMemory();
  PinnedMemory(const PinnedMemory&) = delete;
  PinnedMemory& operator=(const PinnedMemory&) = delete;

  // At the beginning of a page.
  std::byte* data() const { return data_; }
  size_t size() const { return size_; }

  // Whether every page is there.
  bool filled() const { return filled_ == size_; }
  // Waits until every page is there, and helps.
  void fill_sync();
  // Locks the pages, which may have to be filled first: before the device copies. Does nothing when
  // they are locked. Throws InputError when they cannot be.
  void lock_sync();

 private:
  void fill(const std::stop_token& stop);

  std::byte* data_ = nullptr;
  size_t size_ = 0;
  bool locked_ = false;
  std::atomic<size_t> next_ = 0;    // where no thread has begun yet
  std::atomic<size_t> filled_ = 0;  // bytes
  std::vector<std::jthread> threads_;
};

}  // namespace titan
