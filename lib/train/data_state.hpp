// The data loader's state of a whole job, as it stands in a checkpoint.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

namespace titan {

// The union of the ranks' DataLoader::state() (as JSON texts, by rank): what several of them hold
// is equal, the rest is that rank's own ("dp_rank_<r>"). Null where no rank has a state. Throws
// Error where two ranks are at different places of the same data.
nlohmann::json merge_data_states(const std::vector<std::string>& states);

}  // namespace titan
