#include "lib/parallel/host_group.hpp"

#include <algorithm>
#include <cstring>

#include "lib/base/error.hpp"

namespace titan {

void HostGroup::barrier() { exchange({}); }

std::string HostGroup::broadcast(std::string message) {
  return std::move(exchange(rank() == 0 ? std::move(message) : std::string()).front());
}

void HostGroup::max_(std::span<int64_t> values) {
  const std::vector<std::string> all =
      exchange({reinterpret_cast<const char*>(values.data()), values.size_bytes()});
  for (size_t rank = 0; rank < all.size(); ++rank) {
    TITAN_CHECK(all[rank].size() == values.size_bytes(), "rank ", rank, " sent ", all[rank].size(),
                " bytes where ", values.size_bytes(), " were expected");
    for (size_t i = 0; i < values.size(); ++i) {
      int64_t value;
      std::memcpy(&value, all[rank].data() + i * sizeof value, sizeof value);
      values[i] = std::max(values[i], value);
    }
  }
}

}  // namespace titan
