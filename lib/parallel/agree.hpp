// Work of which every rank does a part and that succeeds on all ranks or fails on all, with one
// message: what may go wrong on one of them (a file, a disk) must not leave the others waiting.
// Collective, as the methods of HostGroup; `part` itself must not wait for other ranks.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "lib/parallel/host_group.hpp"

namespace titan {

// Runs every rank's part and returns all results, by rank. Where parts throw, all ranks throw what
// the first of those ranks threw, named in the message unless all threw the same: InputError as
// such, all else as Error.
// In a group of one the part's exception passes as it is.
std::vector<std::string> on_all_ranks(HostGroup& group, const std::function<std::string()>& part);

// The same where rank 0 alone works: its result on all ranks.
std::string on_first_rank(HostGroup& group, const std::function<std::string()>& work);

}  // namespace titan
