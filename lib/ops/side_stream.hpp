// A second CUDA stream beside the one that ATen enqueues on, for copies and communication that run
// while the device computes. On the CPU work runs at once, in the calling thread.
#pragma once

#include <functional>
#include <memory>

#include "lib/ops/device.hpp"

namespace titan::ops {

class SideStream {
 public:
  explicit SideStream(const Device& device);
  SideStream(SideStream&&) noexcept;
  SideStream& operator=(SideStream&&) noexcept;
  ~SideStream();

  // A point in this stream: after the work that run() enqueued.
  class Mark {
   public:
    // The current stream waits for it; the host does not. Nothing on a default-made mark.
    void wait() const;
    // The host waits; callable from any thread.
    void wait_sync() const;

   private:
    friend class SideStream;
    struct Event;
    std::shared_ptr<Event> event_;
  };

  // Enqueues here what `work` enqueues on the current stream, after all that the current stream was
  // given before. Tensors that it uses belong to the caller's stream: they must live until that has
  // waited for the mark. New ones must not be made in `work`.
  Mark run(const std::function<void()>& work) const;

 private:
  struct Stream;
  std::unique_ptr<Stream> stream_;  // null on the CPU
};

}  // namespace titan::ops
