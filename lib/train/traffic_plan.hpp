// What each rank sends in an optimizer step, by axis of the mesh. Counted as a ring sends it, which
// is the least: of a tensor of S bytes that n ranks gather or reduce-scatter (n - 1) / n S, of one
// that they all-reduce twice that. A few numbers a step (gradient norm, losses) are left out.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "lib/model/decoder_config.hpp"
#include "lib/train/plan_config.hpp"

namespace titan {

struct Traffic {
  std::string axis;        // "dp_shard"
  std::string collective;  // "all_gather", "reduce_scatter", "all_reduce"
  std::string what;        // "weights"
  int64_t bytes = 0;       // sent by a rank in a step
};

// Only what is more than nothing.
std::vector<Traffic> plan_traffic(const DecoderConfig& model, const PlanConfig& config);

// As lines for the console.
std::string describe(const std::vector<Traffic>& traffic);

}  // namespace titan
