// Memory that the processes of a host share, for ranks that compute on the CPU.
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <ctime>
#include <utility>

#include "lib/base/error.hpp"
#include "lib/parallel/peer_error.hpp"
#include "lib/parallel/peer_memory.hpp"

namespace titan {
namespace {

constexpr std::chrono::milliseconds kLook{50};  // how often a waiting rank looks for the other one
constexpr size_t kLine = 128;                   // bytes

// The memory's file of the process, by which others open it; where the numbers mean another
// process, as they may in a container, its file has not this token.
struct SharedFile {
  pid_t process;
  int descriptor;
  uint64_t token;
};

// Behind the memory.
struct Tail {
  uint64_t token;
  uint32_t ended;  // whether the rank has
};
static_assert(sizeof(Tail) <= kLine);

std::atomic_ref<uint32_t> value_at(std::byte* address) {
  return std::atomic_ref(*reinterpret_cast<uint32_t*>(address));
}

class HostPeerMemory final : public PeerMemory {
 public:
  explicit HostPeerMemory(Group group) : group_(std::move(group)) {}

  ~HostPeerMemory() override {
    if (mapped(rank()) != nullptr) std::atomic_ref(tail(mapped(rank())).ended).store(1);
    for (int64_t any = 0; any < size(); ++any) {
      if (mapped(any) != nullptr) munmap(mapped(any), file_bytes());
    }
    for (const int process : processes_) close(process);
    if (file_ >= 0) close(file_);
  }

  void copy(void* to, const void* from, size_t bytes) const override {
    std::memcpy(to, from, bytes);
  }

  void set(int64_t rank, int64_t counter, uint32_t count) const override {
    std::byte* address = counter_at(rank, this->rank(), counter);
    value_at(address).store(as_value(count));
    syscall(SYS_futex, address, FUTEX_WAKE, INT32_MAX, nullptr, nullptr, 0);
  }

  void wait(int64_t rank, int64_t counter, uint32_t count) const override {
    std::byte* address = counter_at(this->rank(), rank, counter);
    const auto limit = group_.timeout();
    const auto begin = std::chrono::steady_clock::now();
    for (bool ended = false;; ended = has_ended(rank)) {  // which it may after it has set the count
      const uint32_t value = value_at(address).load();
      if (static_cast<int32_t>(value - as_value(count)) >= 0) return;
      if (ended) throw PeerError(concat(name_of(rank), " has ended"));
      if (std::chrono::steady_clock::now() - begin > limit) {
        throw PeerError(
            concat(name_of(rank), " has written nothing for ", limit.count() / 1000, " s"));
      }
      const timespec look = {0, std::chrono::nanoseconds(kLook).count()};
      syscall(SYS_futex, address, FUTEX_WAIT, value, &look, nullptr, 0);
    }
  }

 private:
  std::byte* allocate(size_t bytes, Handle& handle, std::string& error) override {
    bytes_ = (bytes + kLine - 1) / kLine * kLine;
    file_ = memfd_create("titan-train", MFD_CLOEXEC);
    const bool sized = file_ >= 0 && ftruncate(file_, static_cast<off_t>(file_bytes())) == 0;
    std::byte* own = sized ? map_file(file_) : nullptr;
    SharedFile shared = {getpid(), file_, 0};
    if (own == nullptr || getrandom(&shared.token, sizeof shared.token, 0) < 0) {
      error = concat("the processes cannot share memory (", std::strerror(errno), ")");
      return own;
    }
    tail(own).token = shared.token;
    std::memcpy(handle.data(), &shared, sizeof shared);
    return own;
  }

  std::byte* map(const Handle& handle, std::string& error) override {
    SharedFile shared;
    std::memcpy(&shared, handle.data(), sizeof shared);
    processes_.push_back(static_cast<int>(syscall(SYS_pidfd_open, shared.process, 0)));
    const std::string path = concat("/proc/", shared.process, "/fd/", shared.descriptor);
    const int file = processes_.back() < 0 ? -1 : ::open(path.c_str(), O_RDWR | O_CLOEXEC);
    std::byte* other = file < 0 ? nullptr : map_file(file);
    const int reason = errno;
    if (file >= 0) close(file);
    if (other == nullptr) {
      error = concat("the processes cannot map each other's memory (", std::strerror(reason), ")");
    } else if (tail(other).token != shared.token) {
      error = "the processes cannot map each other's memory (are they in containers of their own?)";
      munmap(std::exchange(other, nullptr), file_bytes());
    }
    return other;
  }

  size_t file_bytes() const { return bytes_ + kLine; }
  Tail& tail(std::byte* memory) const { return *reinterpret_cast<Tail*>(memory + bytes_); }

  // Null, with errno, where it is another kind of file.
  std::byte* map_file(int file) const {
    struct stat status {};
    if (fstat(file, &status) != 0) return nullptr;
    if (!S_ISREG(status.st_mode) || static_cast<size_t>(status.st_size) != file_bytes()) {
      errno = EBADF;
      return nullptr;
    }
    void* memory = mmap(nullptr, file_bytes(), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    return memory == MAP_FAILED ? nullptr : static_cast<std::byte*>(memory);
  }

  // Its process, or, by an exception or because all is done, its part in this memory.
  bool has_ended(int64_t rank) const {
    if (std::atomic_ref(tail(mapped(rank)).ended).load() != 0) return true;
    if (rank == this->rank()) return false;
    pollfd process = {processes_[static_cast<size_t>(rank < this->rank() ? rank : rank - 1)],
                      POLLIN, 0};
    return poll(&process, 1, 0) == 1;
  }

  std::string name_of(int64_t rank) const {
    return concat("rank ", rank, " of the ", size(), " that share memory");
  }

  Group group_;  // for its timeout
  size_t bytes_ = 0;
  int file_ = -1;
  std::vector<int> processes_;  // of the other ranks, in order
};

}  // namespace

std::unique_ptr<PeerMemory> make_host_peer_memory(const Group& group) {
  return std::make_unique<HostPeerMemory>(group);
}

}  // namespace titan
