// The abbreviated lists in SLURM's environment variables.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace titan {

// "gpu001" of the node list "gpu[001-004,007],big1". Throws InputError for what is no such list.
std::string first_host(std::string_view node_list);

// Of the counts per node "8(x2),4": 8 for nodes 0 and 1, 4 for node 2. Throws InputError for what
// is no such list, or has no such node.
int64_t tasks_on_node(std::string_view tasks_per_node, int64_t node);

}  // namespace titan
