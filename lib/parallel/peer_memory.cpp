#include "lib/parallel/peer_memory.hpp"

#include <ATen/ATen.h>

#include <array>
#include <cstring>
#include <fstream>
#include <thread>

#include "lib/base/error.hpp"

#if TITAN_CUDA
#include <cuda.h>
#include <cuda_runtime_api.h>
#endif

namespace titan {
namespace {

constexpr int64_t kCounterStride = 128;  // bytes: a line for each, since other ranks write them

int64_t bytes_of_counters(int64_t counters) {
  return (counters * kCounterStride + 511) / 512 * 512;
}

// A counter's value: cyclic comparison of 16-bit counts in the high half.
uint32_t as_value(uint32_t count) { return count << 16; }

// On the CPU.
std::atomic_ref<uint32_t> value_at(std::byte* counter) {
  return std::atomic_ref(*reinterpret_cast<uint32_t*>(counter));
}
void set_here(std::byte* counter, uint32_t count) { value_at(counter).store(as_value(count)); }
void wait_here(std::byte* counter, uint32_t count) {
  while (static_cast<int32_t>(value_at(counter).load() - as_value(count)) < 0) {
    std::this_thread::yield();
  }
}

}  // namespace

std::vector<std::unique_ptr<PeerMemory>> PeerMemory::of_threads(int64_t ranks, int64_t bytes,
                                                                int64_t counters) {
  const int64_t all_bytes = bytes_of_counters(counters) + bytes;
  auto shared = std::make_shared<std::vector<std::byte>>(ranks * all_bytes);
  std::vector<std::unique_ptr<PeerMemory>> memories;
  for (int64_t rank = 0; rank < ranks; ++rank) {
    std::unique_ptr<PeerMemory>& memory = memories.emplace_back(new PeerMemory);
    memory->rank_ = rank;
    memory->counter_bytes_ = bytes_of_counters(counters);
    memory->of_threads_ = shared;
    for (int64_t other = 0; other < ranks; ++other) {
      memory->mapped_.push_back(shared->data() + other * all_bytes);
    }
  }
  return memories;
}

std::byte* PeerMemory::of(int64_t rank) const {
  return mapped_[static_cast<size_t>(rank)] + counter_bytes_;
}

std::byte* PeerMemory::counter_of(int64_t rank, int64_t counter) const {
  return mapped_[static_cast<size_t>(rank)] + counter * kCounterStride;
}

}  // namespace titan

#if TITAN_CUDA

namespace titan {
namespace {

constexpr uint32_t kCounts = 1 << 16;  // values that a counter runs through

#define TITAN_CUDA_CHECK(call)                                                    \
  do {                                                                            \
    const cudaError_t status_ = (call);                                           \
    TITAN_CHECK(status_ == cudaSuccess, #call ": ", cudaGetErrorString(status_)); \
  } while (false)

// Which host, and since when it has been up.
using Host = std::array<char, 64>;
Host host_identity() {
  Host host{};
  std::ifstream("/proc/sys/kernel/random/boot_id").read(host.data(), host.size() - 1);
  return host;
}

// What a rank tells the others.
struct Invitation {
  cudaIpcMemHandle_t memory;
  Host host;
};

std::vector<Invitation> exchange(const Group& group, const ops::Device& device,
                                 const Invitation& mine) {
  const auto bytes = static_cast<int64_t>(sizeof mine);
  at::Tensor message = at::empty({bytes}, at::TensorOptions(at::kByte));
  std::memcpy(message.mutable_data_ptr(), &mine, sizeof mine);
  at::Tensor messages = at::empty({group.size() * bytes}, device.options(at::kByte));
  group.all_gather(messages, message.to(device.torch()));
  messages = messages.cpu();
  std::vector<Invitation> all(static_cast<size_t>(group.size()));
  std::memcpy(all.data(), messages.const_data_ptr(), all.size() * sizeof mine);
  return all;
}

// The driver's function, without linking to the driver's library.
using StreamWaitValue = CUresult (*)(CUstream, CUdeviceptr, cuuint32_t, unsigned int);
StreamWaitValue stream_wait_value() {
  void* function = nullptr;
  cudaDriverEntryPointQueryResult found;
  TITAN_CUDA_CHECK(cudaGetDriverEntryPointByVersion("cuStreamWaitValue32", &function, 12000,
                                                    cudaEnableDefault, &found));
  TITAN_CHECK(found == cudaDriverEntryPointSuccess, "the driver lacks cuStreamWaitValue32");
  return reinterpret_cast<StreamWaitValue>(function);
}

}  // namespace

std::unique_ptr<PeerMemory> PeerMemory::open(const Group& group, const ops::Device& device,
                                             int64_t bytes, int64_t counters,
                                             std::string& why_not) {
  why_not.clear();
  if (!device.is_cuda()) {
    why_not = "the ranks compute on the CPU";
    return nullptr;
  }
  std::unique_ptr<PeerMemory> memory(new PeerMemory);
  memory->rank_ = group.rank();
  memory->counter_bytes_ = bytes_of_counters(counters);
  memory->mapped_.resize(static_cast<size_t>(group.size()));
  std::byte*& own = memory->mapped_[static_cast<size_t>(memory->rank_)];

  const auto all_bytes = static_cast<size_t>(memory->counter_bytes_ + bytes);
  const cudaError_t allocation = cudaMalloc(reinterpret_cast<void**>(&own), all_bytes);
  TITAN_CHECK(allocation == cudaSuccess, "cannot take ", all_bytes >> 20,
              " MiB of GPU memory for what the ranks of a host exchange (",
              cudaGetErrorString(allocation), "): use more ranks; --dry_run shows what fits");
  TITAN_CUDA_CHECK(cudaMemset(own, 0, all_bytes));
  std::vector<uint32_t> counts(kCounts);
  for (uint32_t i = 0; i < kCounts; ++i) counts[i] = as_value(i);
  TITAN_CUDA_CHECK(cudaMalloc(reinterpret_cast<void**>(&memory->counts_), 4 * kCounts));
  TITAN_CUDA_CHECK(cudaMemcpy(memory->counts_, counts.data(), 4 * kCounts, cudaMemcpyHostToDevice));
  allocated_ += static_cast<int64_t>(all_bytes + 4 * kCounts);

  // Every rank learns all handles, tries to map them, and learns whether all could.
  Invitation mine{{}, host_identity()};
  cudaError_t status = cudaIpcGetMemHandle(&mine.memory, own);
  const std::vector<Invitation> all = exchange(group, device, mine);
  for (size_t rank = 0; rank < all.size() && status == cudaSuccess; ++rank) {
    if (static_cast<int64_t>(rank) == memory->rank_) continue;
    void* mapped = nullptr;
    status = all[rank].host != mine.host
                 ? cudaErrorInvalidDevice
                 : cudaIpcOpenMemHandle(&mapped, all[rank].memory, cudaIpcMemLazyEnablePeerAccess);
    if (status == cudaSuccess) memory->mapped_[rank] = static_cast<std::byte*>(mapped);
  }
  cudaGetLastError();  // an answer, not an error to be found by a later check
  at::Tensor failed = at::full({}, status == cudaSuccess ? 0 : 1, device.options(at::kInt));
  group.all_reduce_(failed, Reduction::kMax);
  if (failed.item<int>() != 0) {
    why_not = concat("the ranks' GPUs are not all on one host, or cannot map each other's memory",
                     status == cudaSuccess ? "" : concat(" (", cudaGetErrorString(status), ")"));
    for (std::byte* mapped : memory->mapped_) {
      if (mapped != nullptr && mapped != own) cudaIpcCloseMemHandle(mapped);
    }
    group.all_reduce_(failed);  // freed when nobody maps it any more
    (void)failed.item<int>();
    cudaFree(own);
    cudaFree(memory->counts_);
    allocated_ -= static_cast<int64_t>(all_bytes + 4 * kCounts);
    return nullptr;
  }
  return memory;
}

void PeerMemory::copy(void* to, const void* from, size_t bytes) const {
  if (of_threads_) {
    std::memcpy(to, from, bytes);
    return;
  }
  TITAN_CUDA_CHECK(
      cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, ops::current_stream()));
}

void PeerMemory::set(int64_t rank, int64_t counter, uint32_t count) const {
  if (of_threads_) return set_here(counter_of(rank, counter), count);
  copy(counter_of(rank, counter), counts_ + count % kCounts, sizeof(uint32_t));
}

void PeerMemory::wait(int64_t counter, uint32_t count) const {
  if (of_threads_) return wait_here(counter_of(rank_, counter), count);
  static const StreamWaitValue wait_value = stream_wait_value();
  const CUresult status = wait_value(reinterpret_cast<CUstream>(ops::current_stream()),
                                     reinterpret_cast<CUdeviceptr>(counter_of(rank_, counter)),
                                     as_value(count), CU_STREAM_WAIT_VALUE_GEQ);
  TITAN_CHECK(status == CUDA_SUCCESS, "cuStreamWaitValue32 failed: ", static_cast<int>(status));
}

}  // namespace titan

#else

namespace titan {

std::unique_ptr<PeerMemory> PeerMemory::open(const Group&, const ops::Device&, int64_t, int64_t,
                                             std::string& why_not) {
  why_not = "this build has no CUDA";
  return nullptr;
}
void PeerMemory::copy(void* to, const void* from, size_t bytes) const {
  std::memcpy(to, from, bytes);
}
void PeerMemory::set(int64_t rank, int64_t counter, uint32_t count) const {
  set_here(counter_of(rank, counter), count);
}
void PeerMemory::wait(int64_t counter, uint32_t count) const {
  wait_here(counter_of(rank_, counter), count);
}

}  // namespace titan

#endif
