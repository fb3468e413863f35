// How the ranks of a job find each other: through a key-value store on one of the hosts.
#pragma once

#include <chrono>
#include <torch/csrc/distributed/c10d/Store.hpp>

#include "lib/parallel/launch.hpp"

namespace titan {

// The store as this attempt of the job sees it, when all of its ranks have come. torchrun's store
// lives on over restarts, and its hosts may count these differently, so that rank 0 numbers the
// attempts. Throws InputError when ranks do not come within the timeout; it names them and the
// store's address.
c10::intrusive_ptr<c10d::Store> meet(const Launch& launch, std::chrono::seconds timeout);

}  // namespace titan
