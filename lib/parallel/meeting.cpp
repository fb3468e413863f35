#include "lib/parallel/meeting.hpp"

#include <c10/util/Exception.h>

#include <optional>
#include <thread>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include "lib/base/error.hpp"
#include "lib/parallel/quiet_torch.hpp"
#include "lib/parallel/within.hpp"

namespace titan {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kPoll{50};
constexpr std::chrono::seconds kAnswer{1};  // beyond the time in which to connect
constexpr const char* kAttempts = "attempts";

std::string address(const Launch& launch) {
  return concat(launch.store_address, ":", launch.store_port);
}

c10::intrusive_ptr<c10d::TCPStore> open_store(const Launch& launch, std::chrono::seconds timeout) {
  c10d::TCPStoreOptions options;
  options.port = static_cast<uint16_t>(launch.store_port);
  options.isServer = launch.hosts_store();
  options.multiTenant = options.isServer;
  options.waitWorkers = false;  // meet() says who is missing
  options.timeout = timeout;
  const auto failure = [&](const char* reason) {
    return InputError(concat(
        "rank ", launch.rank, ": cannot ", options.isServer ? "open" : "reach",
        " the ranks' meeting point at ", address(launch), " (MASTER_ADDR:MASTER_PORT): ", reason,
        options.isServer
            ? "; is the port in use, or the address another host's? Choose a free port "
              "of this host"
            : "; does rank 0 run, is the address right, and is the port rank 0's?"));
  };
  try {
    // What else may listen at that port need not answer.
    return within(timeout + kAnswer, [host = launch.store_address, options] {
      return c10::make_intrusive<c10d::TCPStore>(host, options);
    });
  } catch (const c10::Error& error) {
    throw failure(error.what_without_backtrace());
  } catch (const Error& error) {
    throw failure(error.what());
  }
}

std::string arrival(int64_t attempt, int64_t rank) {
  return concat("arrived/", attempt, "/", rank);
}
std::string outcome_of(int64_t attempt) { return concat("outcome/", attempt); }

// Comes to the attempts that rank 0 opens until one of them begins.
class Arrival {
 public:
  Arrival(c10d::Store& store, int64_t rank, int64_t size)
      : store_(store), rank_(rank), size_(size) {
    if (rank == 0) store.add(kAttempts, 1);
  }

  int64_t attempt() const { return attempt_; }

  // Nothing yet; "" when all have come to the newest attempt; or those that rank 0 missed there.
  std::optional<std::string> outcome() {
    if (const int64_t newest = store_.add(kAttempts, 0); newest > attempt_) {
      attempt_ = newest;
      // An attempt that was over before this process came is not its own, nor is one in which
      // another process is this rank.
      foreign_ =
          store_.check({outcome_of(attempt_)}) || store_.add(arrival(attempt_, rank_), 1) > 1;
    }
    if (attempt_ == 0 || foreign_) return {};
    if (rank_ == 0) {
      if (!missing().empty()) return {};
      // Only a rank 0 that lives can say so: arrivals may be those of processes that have ended.
      return announce("");
    }
    if (!store_.check({outcome_of(attempt_)})) return {};
    const std::vector<uint8_t> missed = store_.get(outcome_of(attempt_));
    return std::string(missed.begin(), missed.end());
  }

  std::string give_up() { return rank_ == 0 ? announce(missing()) : missing(); }

 private:
  // " 1 3"
  std::string missing() {
    if (attempt_ == 0 || foreign_) return " 0";
    std::string ranks;
    for (int64_t rank = 0; rank < size_; ++rank) {
      if (!store_.check({arrival(attempt_, rank)})) ranks += concat(" ", rank);
    }
    return ranks;
  }

  std::string announce(std::string missed) {
    store_.set(outcome_of(attempt_), std::vector<uint8_t>(missed.begin(), missed.end()));
    return missed;
  }

  c10d::Store& store_;
  int64_t rank_, size_;
  int64_t attempt_ = 0;
  bool foreign_ = false;
};

}  // namespace

c10::intrusive_ptr<c10d::Store> meet(const Launch& launch, std::chrono::seconds timeout) try {
  const QuietTorch quiet;
  const auto end = Clock::now() + timeout;
  auto tcp = open_store(launch, timeout);
  // What an earlier attempt left would make every NCCL group of this one dump and abort.
  if (launch.rank == 0) tcp->deleteKey("exception_dump");
  c10d::PrefixStore job(launch.store_prefix, tcp);
  Arrival arrival(job, launch.rank, launch.world_size);
  std::optional<std::string> missing;
  while (!(missing = arrival.outcome())) {
    if (Clock::now() > end) {
      missing = arrival.give_up();
      break;
    }
    std::this_thread::sleep_for(kPoll);
  }
  if (!missing->empty()) {
    if (launch.hosts_store()) std::this_thread::sleep_for(kAnswer);  // for the others to read it
    throw InputError(concat("rank ", launch.rank, ": after ", timeout.count(),
                            " s (comm.init_timeout_seconds) these of the ", launch.world_size,
                            " ranks have not come to ", address(launch),
                            " (MASTER_ADDR:MASTER_PORT):", *missing,
                            "; look at their logs, and whether every host can reach that address"));
  }
  return c10::make_intrusive<c10d::PrefixStore>(
      concat(launch.store_prefix, "/attempt_", arrival.attempt()), tcp);
} catch (const c10::Error& error) {
  throw InputError(concat("rank ", launch.rank, ": lost the ranks' meeting point at ",
                          address(launch), " (MASTER_ADDR:MASTER_PORT), as when rank 0 or the ",
                          "launcher ends: ", error.what_without_backtrace()));
}

}  // namespace titan
