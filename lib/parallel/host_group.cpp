#include "lib/parallel/host_group.hpp"

#include <algorithm>
#include <cstring>

#include "lib/base/error.hpp"

namespace titan {
namespace {

template <class Combine>
void combine(HostGroup& group, std::span<int64_t> values, Combine combine_two) {
  const std::vector<std::string> all =
      group.exchange({reinterpret_cast<const char*>(values.data()), values.size_bytes()});
  for (size_t rank = 0; rank < all.size(); ++rank) {
    TITAN_CHECK(all[rank].size() == values.size_bytes(), "rank ", rank, " sent ", all[rank].size(),
                " bytes where ", values.size_bytes(), " were expected");
    for (size_t i = 0; i < values.size(); ++i) {
      int64_t value;
      std::memcpy(&value, all[rank].data() + i * sizeof value, sizeof value);
      values[i] = rank == 0 ? value : combine_two(values[i], value);
    }
  }
}

}  // namespace

void HostGroup::barrier() { exchange({}); }

std::string HostGroup::broadcast(std::string message) {
  return std::move(exchange(rank() == 0 ? std::move(message) : std::string()).front());
}

void HostGroup::sum_(std::span<int64_t> values) { combine(*this, values, std::plus<>()); }

void HostGroup::max_(std::span<int64_t> values) {
  combine(*this, values, [](int64_t a, int64_t b) { return std::max(a, b); });
}

}  // namespace titan
