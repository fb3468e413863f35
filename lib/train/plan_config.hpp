// What the plans of a step start from, beside the model's tree.
#pragma once

#include <cstdint>

#include "lib/parallel/mesh.hpp"
#include "lib/parallel/sharder.hpp"

namespace titan {

struct PlanConfig {
  int64_t batch = 0;  // sequences in a micro-batch, of each data rank
  int64_t seq_len = 0;
  SharderConfig sharder = {};
  MeshShape mesh = {};
  bool async_tensor_parallel = false;
  bool loss_parallel = true;
  // Whether shards are copied between ranks that share a host: see ShardExchange.
  bool copies_shards = false;

  int64_t tokens() const { return batch * seq_len; }
  int64_t element() const { return static_cast<int64_t>(c10::elementSize(sharder.compute_dtype)); }
};

}  // namespace titan
