#include <ATen/ATen.h>

#include "lib/base/error.hpp"
#include "lib/parallel/peer_channels.hpp"

#if TITAN_CUDA
#include <cuda.h>
#include <cuda_runtime_api.h>

#include <array>
#include <cstring>
#include <fstream>
#include <vector>

namespace titan {
namespace {

constexpr int64_t kSlots = 2;           // messages from one rank that an inbox holds
constexpr int64_t kCounterBytes = 512;  // of a rank's counters for one other rank: a line for each
constexpr int64_t kCounts = 1 << 16;    // values that a counter runs through

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

using StreamWaitValue = CUresult (*)(CUstream, CUdeviceptr, cuuint32_t, unsigned int);

// The driver's function, without linking to the driver's library.
StreamWaitValue stream_wait_value() {
  void* function = nullptr;
  cudaDriverEntryPointQueryResult found;
  TITAN_CUDA_CHECK(cudaGetDriverEntryPointByVersion("cuStreamWaitValue32", &function, 12000,
                                                    cudaEnableDefault, &found));
  TITAN_CHECK(found == cudaDriverEntryPointSuccess, "the driver lacks cuStreamWaitValue32");
  return reinterpret_cast<StreamWaitValue>(function);
}

// One allocation of each rank, mapped by the others. For every other rank s it holds
//   arrived   messages that s has put into the inbox        written by s
//   taken     messages that s has taken out of its inbox    written by s
//   slots     kSlots messages
// It stays until the process ends: other ranks may still be copying.
struct Inboxes {
  int64_t rank = 0, size = 0, slot_bytes = 0;
  std::byte* own = nullptr;
  std::vector<std::byte*> mapped;        // by rank; own at this one
  std::vector<uint32_t> sent, received;  // messages to and from each rank
  uint32_t* counts = nullptr;            // 0, 1, 2, ...: what is copied into a counter
  StreamWaitValue wait_value = nullptr;

  int64_t inbox_bytes() const { return kCounterBytes + kSlots * slot_bytes; }
  // In `owner`'s allocation, what belongs to its talk with `other`.
  std::byte* inbox(int64_t owner, int64_t other) const {
    return mapped[static_cast<size_t>(owner)] + other * inbox_bytes();
  }
  uint32_t* arrived(int64_t owner, int64_t from) const {
    return reinterpret_cast<uint32_t*>(inbox(owner, from));
  }
  uint32_t* taken(int64_t owner, int64_t by) const {
    return reinterpret_cast<uint32_t*>(inbox(owner, by) + kCounterBytes / 2);
  }
  std::byte* slot(int64_t owner, int64_t from, uint32_t message) const {
    return inbox(owner, from) + kCounterBytes + message % kSlots * slot_bytes;
  }

  // The current stream waits until the counter, in own memory, has reached `count`.
  void wait(uint32_t* counter, uint32_t count) const {
    // Cyclic, as the counter is: (int32)(*counter - count) >= 0 of 16-bit values in the high half.
    const CUresult status =
        wait_value(reinterpret_cast<CUstream>(ops::current_stream()),
                   reinterpret_cast<CUdeviceptr>(counter), count << 16, CU_STREAM_WAIT_VALUE_GEQ);
    TITAN_CHECK(status == CUDA_SUCCESS, "cuStreamWaitValue32 failed: ", static_cast<int>(status));
  }
  void set(uint32_t* counter, uint32_t count) const {
    copy(counter, counts + count % kCounts, sizeof(uint32_t));
  }
  void copy(void* to, const void* from, size_t bytes) const {
    TITAN_CUDA_CHECK(
        cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, ops::current_stream()));
  }
};

class CopyEngineChannels final : public PeerChannels {
 public:
  explicit CopyEngineChannels(Inboxes inboxes) : inboxes_(std::move(inboxes)) {}

  void send(int64_t rank, const at::Tensor& message) override {
    TITAN_CHECK(static_cast<int64_t>(message.nbytes()) <= inboxes_.slot_bytes, "a message of ",
                message.nbytes(), " bytes; the largest is ", inboxes_.slot_bytes);
    const int64_t own = inboxes_.rank;
    const uint32_t number = inboxes_.sent[static_cast<size_t>(rank)]++;
    if (number >= kSlots) inboxes_.wait(inboxes_.taken(own, rank), number - kSlots + 1);
    inboxes_.copy(inboxes_.slot(rank, own, number), message.const_data_ptr(), message.nbytes());
    inboxes_.set(inboxes_.arrived(rank, own), number + 1);
  }

  void receive(int64_t rank, const at::Tensor& message) override {
    const int64_t own = inboxes_.rank;
    const uint32_t number = inboxes_.received[static_cast<size_t>(rank)]++;
    inboxes_.wait(inboxes_.arrived(own, rank), number + 1);
    inboxes_.copy(message.mutable_data_ptr(), inboxes_.slot(own, rank, number), message.nbytes());
    inboxes_.set(inboxes_.taken(rank, own), number + 1);
  }

 private:
  Inboxes inboxes_;
};

}  // namespace

namespace {

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

}  // namespace

std::unique_ptr<PeerChannels> open_copy_engine_channels(const Group& group,
                                                        const ops::Device& device,
                                                        int64_t largest_message,
                                                        std::string& why_not) {
  Inboxes own;
  own.rank = group.rank();
  own.size = group.size();
  own.slot_bytes = (largest_message + 511) / 512 * 512;
  own.sent.resize(static_cast<size_t>(own.size));
  own.received.resize(static_cast<size_t>(own.size));
  own.mapped.resize(static_cast<size_t>(own.size));
  own.wait_value = stream_wait_value();

  const auto bytes = static_cast<size_t>(own.inbox_bytes() * own.size);
  TITAN_CUDA_CHECK(cudaMalloc(reinterpret_cast<void**>(&own.own), bytes));
  TITAN_CUDA_CHECK(cudaMemset(own.own, 0, bytes));
  own.mapped[static_cast<size_t>(own.rank)] = own.own;
  std::vector<uint32_t> counts(kCounts);
  for (uint32_t i = 0; i < kCounts; ++i) counts[i] = i << 16;
  TITAN_CUDA_CHECK(cudaMalloc(reinterpret_cast<void**>(&own.counts), counts.size() * 4));
  TITAN_CUDA_CHECK(
      cudaMemcpy(own.counts, counts.data(), counts.size() * 4, cudaMemcpyHostToDevice));

  // Every rank learns all handles, tries to map them, and learns whether all could.
  Invitation mine{{}, host_identity()};
  cudaError_t status = cudaIpcGetMemHandle(&mine.memory, own.own);
  const std::vector<Invitation> all = exchange(group, device, mine);
  for (size_t rank = 0; rank < all.size() && status == cudaSuccess; ++rank) {
    if (static_cast<int64_t>(rank) == own.rank) continue;
    status = all[rank].host != mine.host
                 ? cudaErrorInvalidDevice
                 : cudaIpcOpenMemHandle(reinterpret_cast<void**>(&own.mapped[rank]),
                                        all[rank].memory, cudaIpcMemLazyEnablePeerAccess);
  }
  cudaGetLastError();  // an answer, not an error to be found by a later check
  at::Tensor failed = at::full({}, status == cudaSuccess ? 0 : 1, device.options(at::kInt));
  group.all_reduce_(failed, Reduction::kMax);
  if (failed.item<int>() != 0) {
    why_not = concat("the ranks' GPUs are not all on one host, or cannot map each other's memory",
                     status == cudaSuccess ? "" : concat(" (", cudaGetErrorString(status), ")"));
    return nullptr;
  }
  return std::make_unique<CopyEngineChannels>(std::move(own));
}

}  // namespace titan

#else

namespace titan {

std::unique_ptr<PeerChannels> open_copy_engine_channels(const Group&, const ops::Device&, int64_t,
                                                        std::string& why_not) {
  why_not = "this build has no CUDA";
  return nullptr;
}

}  // namespace titan

#endif
