#include "lib/parallel/world.hpp"

#include <ATen/ATen.h>
#include <arpa/inet.h>
#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <map>
#include <set>
#include <thread>
#include <torch/csrc/distributed/c10d/HashStore.hpp>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#if TITAN_CUDA
#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>
#endif

#include "lib/base/error.hpp"
#include "lib/parallel/end_reason.hpp"
#include "lib/parallel/meeting.hpp"
#include "lib/parallel/members.hpp"
#include "lib/parallel/peer_error.hpp"

namespace titan {
namespace {

using Milliseconds = std::chrono::milliseconds;
using StorePointer = c10::intrusive_ptr<c10d::Store>;

// This host's address on the way to the store: what other hosts can reach it by. Empty if unknown.
std::string own_address(const std::string& store_address, int port) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_DGRAM;
  addrinfo* found = nullptr;
  if (getaddrinfo(store_address.c_str(), std::to_string(port).c_str(), &hints, &found) != 0) {
    return {};
  }
  std::string address;
  const int socket_ = socket(found->ai_family, SOCK_DGRAM, 0);  // connecting it sends nothing
  sockaddr_storage own{};
  socklen_t size = sizeof own;
  char text[NI_MAXHOST];
  if (socket_ >= 0 && connect(socket_, found->ai_addr, found->ai_addrlen) == 0 &&
      getsockname(socket_, reinterpret_cast<sockaddr*>(&own), &size) == 0 &&
      getnameinfo(reinterpret_cast<sockaddr*>(&own), size, text, sizeof text, nullptr, 0,
                  NI_NUMERICHOST) == 0) {
    address = text;
  }
  if (socket_ >= 0) close(socket_);
  freeaddrinfo(found);
  return address;
}

bool is_loopback(const std::string& address) {
  return address.starts_with("127.") || address == "::1";
}

class GlooHostGroup final : public HostGroup {
 public:
  explicit GlooHostGroup(c10::intrusive_ptr<c10d::Backend> backend)
      : backend_(std::move(backend)) {}

  int64_t rank() const override { return backend_->getRank(); }
  int64_t size() const override { return backend_->getSize(); }

  std::vector<std::string> exchange(std::string message) override {
    const at::Tensor sizes =
        gather(at::full({1}, static_cast<int64_t>(message.size()), at::TensorOptions(at::kLong)));
    const int64_t longest = std::max<int64_t>(sizes.max().item<int64_t>(), 1);
    at::Tensor padded = at::zeros({longest}, at::TensorOptions(at::kByte));
    std::memcpy(padded.mutable_data_ptr(), message.data(), message.size());
    const at::Tensor all = gather(padded);
    std::vector<std::string> messages;
    for (int64_t i = 0; i < size(); ++i) {
      const auto* bytes = static_cast<const char*>(all.const_data_ptr()) + i * longest;
      messages.emplace_back(bytes, sizes.const_data_ptr<int64_t>()[i]);
    }
    return messages;
  }

 private:
  at::Tensor gather(at::Tensor own) {
    at::Tensor all = at::empty({size() * own.numel()}, own.options());
    among_peers(
        [&] { return hand_over([&] { return backend_->_allgather_base(all, own); })->wait(); });
    return all;
  }

  c10::intrusive_ptr<c10d::Backend> backend_;
};

}  // namespace

struct World::Parts {
  StorePointer store;
  bool hosts_store = false;
  int64_t rank = 0, size = 1;
  at::Device device = at::kCPU;
  Milliseconds timeout{};
  std::shared_ptr<gloo::transport::Device> gloo_device;
  std::vector<c10::intrusive_ptr<c10d::Backend>> backends = {};  // in order of creation
  std::set<c10d::Backend*> with_own_timeout = {};
  std::map<std::vector<int64_t>, Group> groups = {};  // by ranks: made once

  c10::intrusive_ptr<c10d::Backend> gloo(const std::string& name,
                                         const std::vector<int64_t>& ranks);
  c10::intrusive_ptr<c10d::Backend> nccl(const std::string& name,
                                         const std::vector<int64_t>& ranks);

  void close_connections();

  int position(const std::vector<int64_t>& ranks) const {
    const auto found = std::find(ranks.begin(), ranks.end(), rank);
    TITAN_CHECK(found != ranks.end(), "rank ", rank, " is not of the group");
    return static_cast<int>(found - ranks.begin());
  }
};

c10::intrusive_ptr<c10d::Backend> World::Parts::gloo(const std::string& name,
                                                     const std::vector<int64_t>& ranks) {
  auto options = c10d::ProcessGroupGloo::Options::create();
  options->timeout = timeout;
  options->devices.push_back(gloo_device);
  const auto prefix =
      c10::make_intrusive<c10d::PrefixStore>(concat(name, "/", ranks.front()), store);
  auto backend = among_peers([&] {
    return c10::make_intrusive<c10d::ProcessGroupGloo>(prefix, position(ranks),
                                                       static_cast<int>(ranks.size()), options);
  });
  backends.push_back(backend);
  return backend;
}

#if TITAN_CUDA
c10::intrusive_ptr<c10d::Backend> World::Parts::nccl(const std::string& name,
                                                     const std::vector<int64_t>& ranks) {
  auto options = c10d::ProcessGroupNCCL::Options::create(/*is_high_priority_stream=*/true);
  options->timeout = timeout;
  options->group_name = name;
  for (const int64_t member : ranks) {
    options->global_ranks_in_group.push_back(static_cast<uint64_t>(member));
  }
  auto backend = c10::make_intrusive<c10d::ProcessGroupNCCL>(
      c10::make_intrusive<c10d::PrefixStore>(concat(name, "/", ranks.front()), store),
      position(ranks), static_cast<int>(ranks.size()), options);
  backend->setBoundDeviceId(device);
  // What is wrong with the network shows at once.
  among_peers([&] { backend->eagerConnectSingleDevice(device); });
  backends.push_back(backend);
  return backend;
}
#else
c10::intrusive_ptr<c10d::Backend> World::Parts::nccl(const std::string&,
                                                     const std::vector<int64_t>&) {
  throw Error("this build has no CUDA");
}
#endif

World::World() = default;
World::World(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
World::World(World&&) noexcept = default;
World& World::operator=(World&&) noexcept = default;

World::World(const Launch& launch, const ops::Device& device, std::chrono::seconds timeout) {
  if (launch.world_size == 1) return;
  // Writing to a rank that has gone is an error, of which the others are told; not the end.
  std::signal(SIGPIPE, SIG_IGN);
  StorePointer store = meet(launch, timeout);
  std::string address = own_address(launch.store_address, static_cast<int>(launch.store_port));
  // A host's own name may lead to its loopback, which other hosts cannot reach.
  const bool one_host = launch.local_world_size == launch.world_size;
  if (!one_host && is_loopback(address)) address.clear();
  const char* interface = std::getenv("GLOO_SOCKET_IFNAME");
  std::shared_ptr<gloo::transport::Device> gloo_device =
      interface != nullptr ? c10d::ProcessGroupGloo::createDeviceForInterface(interface)
      : !address.empty()   ? c10d::ProcessGroupGloo::createDeviceForHostname(address)
                           : c10d::ProcessGroupGloo::createDefaultDevice();
  parts_ = std::make_unique<Parts>(Parts{.store = store,
                                         .hosts_store = launch.hosts_store(),
                                         .rank = launch.rank,
                                         .size = launch.world_size,
                                         .device = device.torch(),
                                         .timeout = timeout,
                                         .gloo_device = std::move(gloo_device)});
}

std::vector<World> World::threads(int64_t size) {
  std::vector<World> worlds;
  if (size == 1) {
    worlds.emplace_back();
    return worlds;
  }
  auto store = c10::make_intrusive<c10d::HashStore>();
  for (int64_t rank = 0; rank < size; ++rank) {
    worlds.push_back(World(std::make_unique<Parts>(
        Parts{.store = store,
              .rank = rank,
              .size = size,
              .timeout = std::chrono::seconds(60),
              .gloo_device = c10d::ProcessGroupGloo::createDeviceForHostname("127.0.0.1")})));
  }
  return worlds;
}

World::~World() {
  if (!parts_) return;
  if (std::uncaught_exceptions() > 0) {
    for (auto& backend : parts_->backends) (void)backend.release();
    (void)parts_->store.release();
    return;
  }
  // With the last one first: all ranks made them in one order.
  for (auto backend = parts_->backends.rbegin(); backend != parts_->backends.rend(); ++backend) {
    (*backend)->shutdown();
  }
}

// A closed connection tells the others at once, whichever of them they wait for.
void World::Parts::close_connections() {
  if (device.is_cuda()) new auto(groups);  // never ended: NCCL's end may wait for the others
  // In a thread of its own, since it waits for what is still under way.
  std::thread([groups = std::exchange(groups, {}), backends = std::exchange(backends, {})] {
  }).detach();
}

void World::leave_end_reason(const EndReason& reason) noexcept {
  if (!parts_) return;
  titan::leave_end_reason(parts_->store, rank(), reason);
  parts_->close_connections();
}

EndReason World::ask_end_reason(const std::string& seen) noexcept {
  if (!parts_) return {.text = seen};
  parts_->close_connections();
  return titan::ask_end_reason(parts_->store, rank(), size(), seen);
}

void World::let_others_ask() noexcept {
  if (parts_ && parts_->hosts_store) wait_for_questions(parts_->store, size());
}

int64_t World::rank() const { return parts_ ? parts_->rank : 0; }
int64_t World::size() const { return parts_ ? parts_->size : 1; }

Group World::group(const std::string& name, const std::vector<int64_t>& ranks) {
  if (ranks.size() == 1) return {};
  Group& group = parts_->groups[ranks];
  if (!group.members_) {
    group.members_ = std::make_shared<Group::Members>(Group::Members{
        parts_->device.is_cuda() ? parts_->nccl(name, ranks) : parts_->gloo(name, ranks)});
  }
  return group;
}

Group World::watched_alone() {
  if (!parts_ || !parts_->device.is_cuda()) return {};
  Group& group = parts_->groups[{parts_->rank}];
  if (!group.members_) {
    group.members_ = std::make_shared<Group::Members>(
        Group::Members{parts_->nccl("watched_alone", {parts_->rank})});
  }
  return group;
}

std::unique_ptr<HostGroup> World::host_group(const std::string& name,
                                             std::optional<std::chrono::seconds> timeout) {
  if (!parts_) return std::make_unique<HostGroup>();
  std::vector<int64_t> all;
  for (int64_t other = 0; other < parts_->size; ++other) all.push_back(other);
  auto backend = parts_->gloo(concat("host/", name), all);
  if (timeout) {
    backend->setTimeout(*timeout);
    parts_->with_own_timeout.insert(backend.get());
  }
  return std::make_unique<GlooHostGroup>(std::move(backend));
}

void World::set_timeout(std::chrono::seconds timeout) {
  if (!parts_) return;
  parts_->timeout = timeout;
  for (auto& backend : parts_->backends) {
    if (!parts_->with_own_timeout.contains(backend.get())) backend->setTimeout(timeout);
  }
}

}  // namespace titan
