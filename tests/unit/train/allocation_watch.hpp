// Counts the bytes that ATen's CPU allocator hands out on this thread while an object lives.
#pragma once

#include <c10/core/Allocator.h>
#include <c10/util/ThreadLocalDebugInfo.h>

#include <memory>

namespace titan {

class AllocationWatch {
 public:
  // Bytes allocated less bytes freed since construction.
  int64_t in_use() const { return counter_->in_use; }

 private:
  struct Counter : c10::MemoryReportingInfoBase {
    bool memoryProfilingEnabled() const override { return true; }
    void reportMemoryUsage(void*, int64_t size, size_t, size_t, c10::Device) override {
      in_use += size;
    }
    int64_t in_use = 0;
  };

  std::shared_ptr<Counter> counter_ = std::make_shared<Counter>();
  c10::DebugInfoGuard guard_{c10::DebugInfoKind::PROFILER_STATE, counter_};
};

}  // namespace titan
