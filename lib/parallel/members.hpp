// What a Group stands for. Only for group.cpp and world.cpp: c10d's headers are heavy.
#pragma once

#include <mutex>
#include <torch/csrc/distributed/c10d/Backend.hpp>

#include "lib/parallel/group.hpp"

namespace titan {

struct Group::Members {
  c10::intrusive_ptr<c10d::Backend> backend;
};

inline std::mutex handing_over;

// Calls what hands a collective to its backend, one at a time in the process: c10d's flight
// recorder of gloo's collectives is one for all groups, and adds a group to its map without a lock.
template <class Issue>
auto hand_over(const Issue& issue) {
  const std::lock_guard lock(handing_over);
  return issue();
}

}  // namespace titan
