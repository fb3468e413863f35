#include "lib/train/pinned_memory.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <system_error>

#include "lib/base/error.hpp"

#if TITAN_CUDA
#include <cuda_runtime_api.h>
#endif

namespace titan {
namespace {

constexpr size_t kPage = 4096;          // where there are no huge ones
constexpr size_t kPiece = 64ull << 20;  // what a thread fills at a time

[[noreturn]] void throw_not_locked(size_t bytes, const char* why) {
  char gib[32];
  std::snprintf(gib, sizeof gib, "%.2f GiB", static_cast<double>(bytes) / (1ull << 30));
  throw InputError(concat("cannot page-lock ", gib, " of host memory (", why,
                          "); raise the limits (ulimit -l, ulimit -v) or use "
                          "checkpoint.async_mode = \"async\""));
}

}  // namespace

PinnedMemory::PinnedMemory(size_t bytes, size_t threads) : size_(bytes) {
  if (size_ == 0) return;
  void* memory =
      ::mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, /*fd=*/-1, 0);
  if (memory == MAP_FAILED) throw_not_locked(size_, std::strerror(errno));
  data_ = static_cast<std::byte*>(memory);
  ::madvise(data_, size_, MADV_HUGEPAGE);  // where it fails, filling and locking take longer
  try {
    while (threads_.size() < threads) {
      threads_.emplace_back([this](const std::stop_token& stop) { fill(stop); });
    }
  } catch (const std::system_error&) {  // no more threads: fill_sync does their work
  }
}

PinnedMemory::~PinnedMemory() {
  threads_.clear();  // each stops after the piece it is at
#if TITAN_CUDA
  if (locked_) cudaHostUnregister(data_);
#endif
  if (data_ != nullptr) ::munmap(data_, size_);
}

void PinnedMemory::fill(const std::stop_token& stop) {
  while (!stop.stop_requested()) {
    const size_t begin = next_.fetch_add(kPiece), end = std::min(begin + kPiece, size_);
    if (begin >= size_) return;
    for (size_t byte = begin; byte < end; byte += kPage) {
      *const_cast<volatile std::byte*>(data_ + byte) = std::byte{0};
    }
    filled_ += end - begin;
  }
}

void PinnedMemory::fill_sync() {
  fill(std::stop_token());
  for (std::jthread& thread : threads_) thread.join();
  threads_.clear();
}

void PinnedMemory::lock_sync() {
  if (locked_ || size_ == 0) return;
  fill_sync();
#if TITAN_CUDA
  // In one piece: the device copies nothing across a border between two.
  const cudaError_t status = cudaHostRegister(data_, size_, cudaHostRegisterDefault);
  if (status != cudaSuccess) {
    cudaGetLastError();  // or the next kernel launch reports it
    throw_not_locked(size_, cudaGetErrorString(status));
  }
  locked_ = true;
#else
  throw_not_locked(size_, "this build has no CUDA");
#endif
}

}  // namespace titan
