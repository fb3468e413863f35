#include "lib/train/data_state.hpp"

#include <nlohmann/json.hpp>

#include "lib/base/error.hpp"

namespace titan {

nlohmann::json merge_data_states(const std::vector<std::string>& states) {
  nlohmann::json merged;
  for (size_t rank = 0; rank < states.size(); ++rank) {
    const nlohmann::json state = nlohmann::json::parse(states[rank]);
    for (const auto& [key, value] : state.items()) {
      if (!merged.contains(key)) merged[key] = value;
      TITAN_CHECK(merged[key] == value, "rank ", rank, " has read other data than the ranks before",
                  " it: its loader's \"", key, "\" is ", value.dump(), ", theirs ",
                  merged[key].dump());
    }
  }
  return merged;
}

}  // namespace titan
