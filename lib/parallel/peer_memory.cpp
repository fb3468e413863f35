#include "lib/parallel/peer_memory.hpp"

#include <ATen/ATen.h>

#include "lib/base/error.hpp"

#if TITAN_CUDA
#include <cuda.h>
#include <cuda_runtime_api.h>

#include <array>
#include <cstring>
#include <fstream>

namespace titan {
namespace {

constexpr int64_t kCounterStride = 128;  // bytes: a line for each, since other ranks write them
constexpr uint32_t kCounts = 1 << 16;    // values that a counter runs through

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

// A counter's value: cyclic comparison of 16-bit counts in the high half.
uint32_t as_value(uint32_t count) { return count << 16; }

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
  memory->counter_bytes_ = (counters * kCounterStride + 511) / 512 * 512;
  memory->mapped_.resize(static_cast<size_t>(group.size()));
  std::byte*& own = memory->mapped_[static_cast<size_t>(memory->rank_)];

  const auto all_bytes = static_cast<size_t>(memory->counter_bytes_ + bytes);
  TITAN_CUDA_CHECK(cudaMalloc(reinterpret_cast<void**>(&own), all_bytes));
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

std::byte* PeerMemory::of(int64_t rank) const {
  return mapped_[static_cast<size_t>(rank)] + counter_bytes_;
}

void PeerMemory::copy(void* to, const void* from, size_t bytes) const {
  TITAN_CUDA_CHECK(
      cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, ops::current_stream()));
}

void PeerMemory::set(int64_t rank, int64_t counter, uint32_t count) const {
  copy(mapped_[static_cast<size_t>(rank)] + counter * kCounterStride, counts_ + count % kCounts,
       sizeof(uint32_t));
}

void PeerMemory::wait(int64_t counter, uint32_t count) const {
  static const StreamWaitValue wait_value = stream_wait_value();
  std::byte* address = mapped_[static_cast<size_t>(rank_)] + counter * kCounterStride;
  const CUresult status =
      wait_value(reinterpret_cast<CUstream>(ops::current_stream()),
                 reinterpret_cast<CUdeviceptr>(address), as_value(count), CU_STREAM_WAIT_VALUE_GEQ);
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
std::byte* PeerMemory::of(int64_t) const { return nullptr; }
void PeerMemory::copy(void*, const void*, size_t) const {}
void PeerMemory::set(int64_t, int64_t, uint32_t) const {}
void PeerMemory::wait(int64_t, uint32_t) const {}

}  // namespace titan

#endif
