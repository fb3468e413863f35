// GPU memory by CUDA IPC.
#include "lib/base/error.hpp"
#include "lib/parallel/peer_memory.hpp"

#if TITAN_CUDA

#include <cuda.h>
#include <cuda_runtime_api.h>

#include <cstring>

#include "kernels/common/cuda_check.hpp"

namespace titan {
namespace {

constexpr uint32_t kCounts = 1 << 16;  // values that a counter runs through

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

std::string no_mapping(cudaError_t status) {
  cudaGetLastError();  // an answer, not an error to be found by a later check
  return concat("the GPUs cannot map each other's memory (", cudaGetErrorString(status), ")");
}

class CudaPeerMemory final : public PeerMemory {
 public:
  void copy(void* to, const void* from, size_t bytes) const override {
    TITAN_CUDA_CHECK(
        cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, ops::current_stream()));
  }

  void set(int64_t rank, int64_t counter, uint32_t count) const override {
    copy(counter_at(rank, this->rank(), counter), counts_ + count % kCounts, sizeof(uint32_t));
  }

  void wait(int64_t rank, int64_t counter, uint32_t count) const override {
    static const StreamWaitValue wait_value = stream_wait_value();
    const auto address = reinterpret_cast<CUdeviceptr>(counter_at(this->rank(), rank, counter));
    const CUresult status = wait_value(reinterpret_cast<CUstream>(ops::current_stream()), address,
                                       as_value(count), CU_STREAM_WAIT_VALUE_GEQ);
    TITAN_CHECK(status == CUDA_SUCCESS, "cuStreamWaitValue32 failed: ", static_cast<int>(status));
  }

 private:
  std::byte* allocate(size_t bytes, Handle& handle, std::string& error) override {
    std::byte* own = nullptr;
    const cudaError_t allocation = cudaMalloc(reinterpret_cast<void**>(&own), bytes);
    TITAN_CHECK(allocation == cudaSuccess, "cannot take ", bytes >> 20,
                " MiB of GPU memory for what the ranks of a host exchange (",
                cudaGetErrorString(allocation), "): use more ranks; --dry_run shows what fits");
    TITAN_CUDA_CHECK(cudaMemset(own, 0, bytes));
    std::vector<uint32_t> counts(kCounts);
    for (uint32_t i = 0; i < kCounts; ++i) counts[i] = as_value(i);
    const size_t counts_bytes = counts.size() * sizeof counts[0];
    TITAN_CUDA_CHECK(cudaMalloc(reinterpret_cast<void**>(&counts_), counts_bytes));
    TITAN_CUDA_CHECK(cudaMemcpy(counts_, counts.data(), counts_bytes, cudaMemcpyHostToDevice));
    taken_ = static_cast<int64_t>(bytes + counts_bytes);
    allocated_ += taken_;

    static_assert(sizeof(cudaIpcMemHandle_t) == sizeof(Handle));
    cudaIpcMemHandle_t ipc;
    const cudaError_t status = cudaIpcGetMemHandle(&ipc, own);
    if (status == cudaSuccess) {
      std::memcpy(handle.data(), &ipc, sizeof ipc);
    } else {
      error = no_mapping(status);
    }
    return own;
  }

  std::byte* map(const Handle& handle, std::string& error) override {
    cudaIpcMemHandle_t ipc;
    std::memcpy(&ipc, handle.data(), sizeof ipc);
    void* other = nullptr;
    const cudaError_t status = cudaIpcOpenMemHandle(&other, ipc, cudaIpcMemLazyEnablePeerAccess);
    if (status == cudaSuccess) return static_cast<std::byte*>(other);
    error = no_mapping(status);
    return nullptr;
  }

  void unmap_others() override {
    for (int64_t other = 0; other < size(); ++other) {
      if (other != rank() && mapped(other) != nullptr) cudaIpcCloseMemHandle(mapped(other));
    }
  }

  void free_own() override {
    cudaFree(mapped(rank()));
    cudaFree(counts_);
    allocated_ -= taken_;
  }

  uint32_t* counts_ = nullptr;  // 0, 1, 2, ... as values: what is copied into a counter
  int64_t taken_ = 0;
};

}  // namespace

std::unique_ptr<PeerMemory> make_cuda_peer_memory() { return std::make_unique<CudaPeerMemory>(); }

}  // namespace titan

#else

namespace titan {

std::unique_ptr<PeerMemory> make_cuda_peer_memory() { throw Error("this build has no CUDA"); }

}  // namespace titan

#endif
