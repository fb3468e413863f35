#include "lib/ops/side_stream.hpp"

#if TITAN_CUDA
#include <ATen/cuda/CUDAEvent.h>
#include <c10/cuda/CUDAGuard.h>

namespace titan::ops {

struct SideStream::Stream {
  c10::cuda::CUDAStream stream;
};
struct SideStream::Mark::Event {
  at::cuda::CUDAEvent event;
};

SideStream::SideStream(const Device& device) {
  if (!device.is_cuda()) return;
  // High priority: what waits for communication waits less.
  stream_ = std::make_unique<Stream>(
      c10::cuda::getStreamFromPool(/*isHighPriority=*/true, device.torch().index()));
}

SideStream::Mark SideStream::run(const std::function<void()>& work) const {
  Mark mark;
  if (!stream_) {
    work();
    return mark;
  }
  at::cuda::CUDAEvent before;
  before.record();
  before.block(stream_->stream);
  c10::cuda::CUDAStreamGuard guard(stream_->stream);
  work();
  mark.event_ = std::make_shared<Mark::Event>();
  mark.event_->event.record(stream_->stream);
  return mark;
}

void SideStream::Mark::wait() const {
  if (event_) event_->event.block(c10::cuda::getCurrentCUDAStream());
}

void SideStream::Mark::wait_sync() const {
  if (event_) event_->event.synchronize();
}

}  // namespace titan::ops

#else

namespace titan::ops {

struct SideStream::Stream {};
struct SideStream::Mark::Event {};

SideStream::SideStream(const Device&) {}
SideStream::Mark SideStream::run(const std::function<void()>& work) const {
  work();
  return {};
}
void SideStream::Mark::wait() const {}
void SideStream::Mark::wait_sync() const {}

}  // namespace titan::ops

#endif

namespace titan::ops {

SideStream::SideStream(SideStream&&) noexcept = default;
SideStream& SideStream::operator=(SideStream&&) noexcept = default;
SideStream::~SideStream() = default;

}  // namespace titan::ops
