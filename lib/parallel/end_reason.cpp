#include "lib/parallel/end_reason.hpp"

#include <chrono>
#include <nlohmann/json.hpp>
#include <thread>
#include <torch/csrc/distributed/c10d/Store.hpp>

#include "lib/base/error.hpp"
#include "lib/parallel/quiet_torch.hpp"
#include "lib/parallel/within.hpp"

namespace titan {
namespace {

using StorePointer = c10::intrusive_ptr<c10d::Store>;

// How long a reason may take to come; all ranks that see an end see it within moments.
constexpr std::chrono::seconds kPatience{5};
constexpr std::chrono::seconds kLinger{1};
constexpr std::chrono::seconds kAnswer{8};  // of the store's host
constexpr std::chrono::milliseconds kPoll{50};
constexpr const char* kReason = "end_reason";

std::string ended(int64_t rank) { return concat("ended/", rank); }

std::vector<uint8_t> encode(const EndReason& reason) {
  const std::string text = nlohmann::json({{"status", reason.status}, {"text", reason.text}})
                               .dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  return {text.begin(), text.end()};
}

EndReason decode(const std::vector<uint8_t>& bytes) {
  const nlohmann::json json = nlohmann::json::parse(bytes);
  return {json.at("status").get<int>(), json.at("text").get<std::string>()};
}

// The first to come counts; the one that does.
EndReason propose(c10d::Store& store, const EndReason& reason) {
  return decode(store.compareSet(kReason, {}, encode(reason)));
}

// For a while. Asks again and again, since a wait of the store itself warns when it is in vain.
bool have_come(c10d::Store& store, const std::vector<std::string>& keys) {
  const auto end = std::chrono::steady_clock::now() + kPatience;
  while (!store.check(keys)) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(kPoll);
  }
  return true;
}

std::string silent_ranks(c10d::Store& store, int64_t size) {
  std::string ranks;
  int64_t count = 0;
  for (int64_t rank = 0; rank < size; ++rank) {
    if (!store.check({ended(rank)})) ranks += concat(count++ > 0 ? ", " : "", rank);
  }
  if (count == 0) return "all ranks have lost each other; is the network down?";
  return concat(
      count > 1 ? "ranks " : "rank ", ranks, count > 1 ? " do" : " does",
      " not answer: killed (perhaps by the system, for want of memory), hanging, or slower "
      "than comm's timeouts");
}

EndReason ask(c10d::Store& store, int64_t rank, int64_t size, const std::string& seen) {
  store.set(ended(rank), std::vector<uint8_t>{1});
  if (have_come(store, {kReason})) return decode(store.get(kReason));
  return propose(store,
                 {.text = concat(silent_ranks(store, size), "; rank ", rank, " saw: ", seen)});
}

}  // namespace

void leave_end_reason(const StorePointer& store, int64_t rank, const EndReason& reason) noexcept
    try {
  const QuietTorch quiet;
  within(kAnswer, [=] {
    store->set(ended(rank), std::vector<uint8_t>{1});
    propose(*store, {reason.status, concat("rank ", rank, " has failed: ", reason.text)});
  });
} catch (const std::exception&) {
  // The others will see that this rank has gone.
}

void wait_for_questions(const StorePointer& store, int64_t size) noexcept try {
  const QuietTorch quiet;
  within(kAnswer, [=] {
    std::vector<std::string> all;
    for (int64_t rank = 0; rank < size; ++rank) all.push_back(ended(rank));
    have_come(*store, all);
    std::this_thread::sleep_for(kLinger);  // for them to read it
  });
} catch (const std::exception&) {
}

EndReason ask_end_reason(const StorePointer& store, int64_t rank, int64_t size,
                         const std::string& seen) noexcept try {
  const QuietTorch quiet;
  const auto began = std::chrono::steady_clock::now();
  const EndReason reason = within(kAnswer, [=] { return ask(*store, rank, size, seen); });
  std::this_thread::sleep_until(began + kLinger);
  return reason;
} catch (const std::exception& error) {
  return {.text = concat("another rank has gone, and with it the ranks' meeting point: ",
                         error.what(), "; rank ", rank, " saw: ", seen)};
}

}  // namespace titan
