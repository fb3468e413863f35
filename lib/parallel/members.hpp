// What a Group stands for. Only for group.cpp and world.cpp: c10d's headers are heavy.
#pragma once

#include <torch/csrc/distributed/c10d/Backend.hpp>

#include "lib/parallel/group.hpp"

namespace titan {

struct Group::Members {
  c10::intrusive_ptr<c10d::Backend> backend;
};

}  // namespace titan
