// Count the bytes that ATen's CPU allocator hands out while an object lives: on this thread, or on
// all threads.
#pragma once

#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>
#include <c10/util/ThreadLocalDebugInfo.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
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

// One at a time.
class ProcessAllocationWatch {
 public:
  ProcessAllocationWatch() { c10::SetCPUAllocator(&allocator_, kPriority); }
  ~ProcessAllocationWatch() { c10::SetCPUAllocator(before_, kPriority); }
  ProcessAllocationWatch(const ProcessAllocationWatch&) = delete;

  // Bytes allocated under any watch less those of them that were freed.
  int64_t in_use() const { return in_use_; }

 private:
  static constexpr uint8_t kPriority = 100;
  static constexpr size_t kHeader = 64;  // in front of the memory: its size

  class Allocator final : public c10::Allocator {
    c10::DataPtr allocate(size_t size) override {
      char* block = static_cast<char*>(std::aligned_alloc(64, kHeader + (size + 63) / 64 * 64));
      std::memcpy(block, &size, sizeof size);
      in_use_ += static_cast<int64_t>(size);
      void* data = block + kHeader;
      return {data, data, &free, c10::Device(c10::kCPU)};
    }
    static void free(void* data) {
      char* block = static_cast<char*>(data) - kHeader;
      size_t size;
      std::memcpy(&size, block, sizeof size);
      in_use_ -= static_cast<int64_t>(size);
      std::free(block);
    }
    c10::DeleterFnPtr raw_deleter() const override { return &free; }
    void copy_data(void* to, const void* from, size_t size) const override {
      default_copy_data(to, from, size);
    }
  };

  // Beyond the object's life: memory may be freed later.
  static inline std::atomic<int64_t> in_use_ = 0;
  static inline Allocator allocator_;
  c10::Allocator* before_ = c10::GetCPUAllocator();
};

}  // namespace titan
