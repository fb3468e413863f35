// What a job will need of the device's memory, from the model's tree alone: a walk over the step
// that allocates and frees sizes where the modules allocate and free tensors. The plan and the step
// read the same recompute field; tests hold the plan's parts against tensors, titan-bench step
// shows its peak beside the allocator's.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "lib/model/decoder_config.hpp"
#include "lib/train/memory_timeline.hpp"
#include "lib/train/plan_config.hpp"

namespace titan {

// Of the rank that holds most.
struct MemoryPlan {
  // Bytes that stay for the whole run.
  int64_t masters = 0;
  int64_t compute_copies = 0;
  int64_t float8_copies = 0;  // of weights, for forward and for dgrad, where they stay
  int64_t moments = 0;
  int64_t workspace = 0;  // matmul workspace, rotary table, inboxes of async tensor parallel
  // Bytes that come and go.
  int64_t gathered_weights = 0;   // on many shards, with their float8 copies: the most at a time
  int64_t saved_activations = 0;  // after the last block's forward
  int64_t gradients = 0;          // after the last backward
  int64_t gradients_in_reduction = 0;  // on many shards: the most at a time
  std::vector<MemoryMoment> timeline;  // the step's moments in order
  MemoryMoment peak;
};

MemoryPlan plan_memory(const DecoderConfig& model, const PlanConfig& config);

// The plan as lines for the console.
std::string describe(const MemoryPlan& plan);

}  // namespace titan
