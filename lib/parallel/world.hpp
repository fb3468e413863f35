// All ranks of a job: the store through which they meet, and the groups that are made of them.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "lib/ops/device.hpp"
#include "lib/parallel/end_reason.hpp"
#include "lib/parallel/group.hpp"
#include "lib/parallel/host_group.hpp"
#include "lib/parallel/launch.hpp"

namespace titan {

class World {
 public:
  // One process.
  World();
  // Meets the other processes of `launch` at its store. Every group communicates with tensors on
  // `device`. Throws InputError when the others do not come within the timeout, naming the address.
  World(const Launch& launch, const ops::Device& device, std::chrono::seconds timeout);
  // Ranks that are threads of this process, on the CPU: for tests. Each is used by its own thread.
  static std::vector<World> threads(int64_t size);

  World(World&&) noexcept;
  World& operator=(World&&) noexcept;
  // Ends the groups in order, with the other ranks; after an exception it leaves them as they are
  // (the process is about to end, and the others may never answer).
  ~World();

  int64_t rank() const;
  int64_t size() const;

  // The group of these ranks (ascending), which must include this one. All ranks of the world call
  // group() and host_group() in one order, with equal names; disjoint groups of one kind share a
  // name. Throw PeerError when the others do not come within the timeout.
  Group group(const std::string& name, const std::vector<int64_t>& ranks);
  // This rank alone, with a process group of its own on CUDA: what is enqueued there waits for
  // nobody, but the group's timeout ends the process when the stream does not get there.
  Group watched_alone();
  // All ranks, over the CPU. With a timeout of its own set_timeout() leaves it alone.
  std::unique_ptr<HostGroup> host_group(const std::string& name,
                                        std::optional<std::chrono::seconds> timeout = {});

  // Limit of a collective from now on, in all groups without their own.
  void set_timeout(std::chrono::seconds timeout);

  // ---- The way out of a job that fails: see end_reason.hpp. Groups are of no use afterwards ----

  void leave_end_reason(const EndReason& reason) noexcept;
  EndReason ask_end_reason(const std::string& seen) noexcept;
  // After either of them, last of all: the others may need this process for their question.
  void let_others_ask() noexcept;

 private:
  struct Parts;
  explicit World(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;  // null: one process
};

}  // namespace titan
