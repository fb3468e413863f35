#include "lib/train/memory_plan.hpp"

#include <algorithm>
#include <cstdio>

#include "lib/base/error.hpp"
#include "lib/model/decoder.hpp"
#include "lib/model/head.hpp"
#include "lib/train/block_memory.hpp"
#include "lib/train/unit_memory.hpp"

namespace titan {
namespace {

constexpr int64_t kMatmulWorkspace = 32 << 20;

// lib/train/step.cpp with sizes in place of tensors.
class StepMemory {
 public:
  // `part`: of one tensor-parallel rank.
  StepMemory(const DecoderConfig& part, const std::vector<BlockMemory>& blocks, UnitMemory& units,
             const PlanConfig& config, MemoryTimeline& memory)
      : part_(part), blocks_(blocks), units_(units), config_(config), memory_(memory) {
    const int64_t token = part.embedding.dim * config.element();
    stream_ = config.tokens() / config.mesh.tp * token;
    gathered_ = config.mesh.tp > 1 ? config.tokens() * token : 0;
    embedding_by_rows_ = Embedding::exchanges_outputs(part.embedding.vocab_size, config.tokens(),
                                                      config.mesh.dp_shard);
    all_outputs_ = embedding_by_rows_ ? config.mesh.dp_shard * config.tokens() * token : 0;
  }

  // Moments are named with `which`.
  void forward_backward(const std::string& which) {
    forward();
    memory_.mark("forward" + which);
    head();
    memory_.mark("head" + which);
    for (size_t i = blocks_.size(); i-- > 0;) {
      const size_t unit = 1 + i;
      if (i > 0) units_.start_gather(unit - 1);
      units_.gradients(unit);
      units_.weights(unit, Direction::kBackward);
      blocks_[i].backward(memory_);
      units_.release(unit, Direction::kBackward);
      units_.start_reduce(unit);
      memory_.mark(concat("backward of layers.", i, which));
    }
    embedding_by_rows_ ? units_.shard_gradients(0) : units_.gradients(0);
    memory_.pulse(all_outputs_);
    units_.start_reduce(0);
    units_.finish_reduce();
    memory_.free(stream_ + gathered_);
    memory_.mark("backward of tok_embeddings" + which);
  }

 private:
  // Leaves the last block's output.
  void forward() {
    if (!embedding_by_rows_) units_.start_gather(0);
    units_.start_gather(1);
    if (!embedding_by_rows_) units_.weights(0);
    memory_.pulse(all_outputs_ + gathered_ + stream_);
    memory_.alloc(stream_);
    if (!embedding_by_rows_) units_.release(0, Direction::kBackward);
    for (size_t i = 0; i < blocks_.size(); ++i) {
      const size_t unit = 1 + i;
      units_.start_gather(unit + 1);
      units_.weights(unit);
      blocks_[i].forward(memory_);
      units_.release(unit, Direction::kForward);
    }
  }

  // Leaves the gradient of the last block's output in its place, of all tokens too.
  void head() {
    const size_t unit = 1 + blocks_.size();
    units_.start_gather(unit - 1);
    units_.gradients(unit);
    units_.weights(unit, Direction::kBackward);

    const int64_t tp = config_.mesh.tp, tokens = config_.tokens(), own_tokens = tokens / tp;
    const int64_t norm = 2 * stream_ + (own_tokens + tokens) * 4;  // y, its gradient, rstd, losses
    memory_.alloc(norm);
    const int64_t rows = std::min(own_tokens, Head::kChunkRows / tp) * tp;
    const int64_t all_rows = tp > 1 ? rows * part_.embedding.dim * config_.element() : 0;
    const int64_t logits = rows * part_.output.out_features() * config_.element();
    const GroupBytes output = group_bytes(part_.output, rows);
    memory_.alloc(all_rows + output.input_row + output.column_amax + logits);
    if (!config_.loss_parallel && tp > 1) memory_.pulse(2 * logits * tp);  // as gathered, as whole
    memory_.alloc(output.dy_row + output.dy_column);
    memory_.pulse(output.input_column);
    memory_.pulse(all_rows);  // the input's gradient, a part of the sum
    memory_.free(all_rows + output.input_row + output.column_amax + logits + output.dy_row +
                 output.dy_column + stream_);
    memory_.alloc(stream_);  // dx
    memory_.free(norm);

    units_.release(unit, Direction::kBackward);
    units_.start_reduce(unit);
    memory_.alloc(gathered_);  // dx of all tokens
  }

  const DecoderConfig& part_;
  const std::vector<BlockMemory>& blocks_;
  UnitMemory& units_;
  const PlanConfig& config_;
  MemoryTimeline& memory_;
  int64_t stream_;    // [T/tp, D]
  int64_t gathered_;  // [T, D] beside it where tokens are gathered or scattered, else 0
  bool embedding_by_rows_;
  int64_t all_outputs_;  // then: the embedding's, of all ranks along dp_shard
};

std::string gib(int64_t bytes) {
  char text[32];
  std::snprintf(text, sizeof text, "%8.2f GiB", static_cast<double>(bytes) / (1ull << 30));
  return text;
}

}  // namespace

MemoryPlan plan_memory(const DecoderConfig& model, const PlanConfig& config) {
  const DecoderConfig part = tensor_parallel_part(model, config.mesh.tp);
  const std::vector<Unit> units = declare_units(model, {.rank = 0, .size = config.mesh.tp});

  MemoryPlan plan;
  for (const Unit& unit : units) {
    const UnitBytes bytes = unit_bytes(unit, config);
    plan.masters += bytes.masters;
    plan.moments += bytes.moments;
    plan.compute_copies += bytes.compute_copies;
    plan.gradients += bytes.gradients;
    if (config.mesh.dp_shard == 1) plan.float8_copies += bytes.float8_rows + bytes.float8_columns;
  }
  plan.workspace = kMatmulWorkspace + config.seq_len * part.layers.front().attention.head_dim * 4;
  // The inboxes of what travels rank by rank: two messages from each.
  if (config.mesh.tp > 1 && config.async_tensor_parallel) {
    plan.workspace += 2 * config.tokens() * part.embedding.dim * config.element();
  }
  // The inboxes of gradients: a block's rows from each other rank.
  if (config.mesh.dp_shard > 1 && config.copies_shards) {
    plan.workspace += ShardExchange::inboxes_bytes(
        config.mesh.dp_shard, gradient_inbox_bytes(units, config.sharder, config.mesh));
  }
  std::vector<BlockMemory> blocks;
  for (const BlockConfig& block : part.layers) {
    blocks.emplace_back(block, config);
    plan.saved_activations += blocks.back().kept();
  }

  MemoryTimeline memory(plan.masters + plan.compute_copies + plan.float8_copies + plan.moments +
                        plan.workspace);
  const int64_t micro_batches = config.sharder.micro_batches;
  memory.alloc(micro_batches * 2 * config.tokens() * 4);  // tokens and labels
  UnitMemory unit_memory(units, config, memory);
  StepMemory step(part, blocks, unit_memory, config, memory);
  step.forward_backward("");
  // Those after the second are like it.
  if (micro_batches > 1) step.forward_backward(", second micro-batch");
  memory.mark("optimizer");

  plan.gathered_weights = unit_memory.most_gathered();
  plan.gradients_in_reduction = unit_memory.most_in_reduction();
  plan.timeline = memory.moments();
  plan.peak = *std::max_element(
      plan.timeline.begin(), plan.timeline.end(),
      [](const MemoryMoment& a, const MemoryMoment& b) { return a.bytes < b.bytes; });
  return plan;
}

std::string describe(const MemoryPlan& plan) {
  std::string text = "Memory planned on this rank, each part at its most:";
  const auto line = [&](const char* what, int64_t bytes) {
    char label[40];
    std::snprintf(label, sizeof label, "\n  %-25s", what);
    text += label + gib(bytes);
  };
  line("weights, masters", plan.masters);
  line("weights, compute copies", plan.compute_copies);
  const bool sharded = plan.gathered_weights > 0;
  if (sharded) {
    line("weights, gathered", plan.gathered_weights);
  } else {
    line("weights, float8 copies", plan.float8_copies);
  }
  line("optimizer moments", plan.moments);
  line("saved activations", plan.saved_activations);
  line("gradients", plan.gradients);
  if (sharded) line("gradients, in reduction", plan.gradients_in_reduction);
  line("workspace, tables", plan.workspace);
  line("peak", plan.peak.bytes);
  return text + concat(" (", plan.peak.name, ", with the tensors at work there)");
}

}  // namespace titan
