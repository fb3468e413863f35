#include "lib/train/memory_plan.hpp"

#include <algorithm>
#include <cstdio>

#include "lib/base/error.hpp"
#include "lib/model/decoder.hpp"
#include "lib/model/head.hpp"

namespace titan {
namespace {

constexpr int64_t kMatmulWorkspace = 32 << 20;

// Bytes in use over the walk; alloc and free as the modules do, mark at the end of each moment.
class Timeline {
 public:
  explicit Timeline(int64_t resident) : in_use_(resident), highest_(resident) {}

  void alloc(int64_t bytes) {
    in_use_ += bytes;
    highest_ = std::max(highest_, in_use_);
  }
  void free(int64_t bytes) { in_use_ -= bytes; }
  void pulse(int64_t bytes) {
    alloc(bytes);
    free(bytes);
  }
  void mark(std::string name) {
    moments_.push_back({std::move(name), highest_});
    highest_ = in_use_;
  }
  std::vector<MemoryMoment> moments() { return std::move(moments_); }

 private:
  int64_t in_use_, highest_;
  std::vector<MemoryMoment> moments_;
};

// Sizes of one block's tensors in bytes.
struct BlockSizes {
  int64_t stream;              // [T, D]: residual, norm output, attention output, their gradients
  int64_t qkv;                 // [T, (H + 2 KV) head_dim]
  int64_t lse;                 // fp32 [B, H, S]
  int64_t rstd;                // fp32 [T]
  int64_t gate_up;             // [T, 2 F]
  int64_t hidden;              // [T, F]
  int64_t attention_backward;  // dq, dk, dv and the kernel's fp32 accumulator of dq
  int64_t gradients;
  // Float8 copies, a byte an element, 0 where the linears stay in high precision: of [T, D] as the
  // input of qkv, wo and gate and up, and of the widest tensors.
  int64_t stream_copy, qkv_copy, gate_up_copy, hidden_copy;
  int64_t column_amax;  // fp32 [K] of every input whose wgrad runs in float8

  int64_t attention_kept() const { return qkv + stream + lse; }
};

bool uses_float8(const LinearGroup& group) {
  return std::any_of(group.members.begin(), group.members.end(),
                     [](const LinearConfig& linear) { return linear.float8.has_value(); });
}

int64_t column_amax_bytes(const LinearGroup& group) {
  const bool wanted = std::any_of(
      group.members.begin(), group.members.end(),
      [](const LinearConfig& linear) { return linear.float8 == Float8Recipe::kRowwise; });
  return wanted ? group.in_features() * 4 : 0;
}

BlockSizes sizes_of(const BlockConfig& block, const Unit& unit, int64_t tokens,
                    const SharderConfig& sharder) {
  const int64_t element = static_cast<int64_t>(c10::elementSize(sharder.compute_dtype));
  const int64_t heads = block.attention.heads;
  BlockSizes sizes{};
  sizes.stream = tokens * block.attention_norm.dim * element;
  sizes.qkv = tokens * block.attention.qkv.out_features() * element;
  sizes.lse = tokens * heads * 4;
  sizes.rstd = tokens * 4;
  sizes.hidden = tokens * block.feed_forward.hidden * element;
  sizes.gate_up = 2 * sizes.hidden;
  sizes.attention_backward = sizes.qkv + tokens * heads * (block.attention.head_dim * 4 + 4);
  if (uses_float8(block.attention.qkv) || uses_float8(block.attention.wo) ||
      uses_float8(block.feed_forward.gate_up)) {
    sizes.stream_copy = tokens * block.attention_norm.dim;
  }
  if (uses_float8(block.attention.qkv)) sizes.qkv_copy = sizes.qkv / element;
  if (uses_float8(block.feed_forward.gate_up)) sizes.gate_up_copy = sizes.gate_up / element;
  if (uses_float8(block.feed_forward.down)) sizes.hidden_copy = sizes.hidden / element;
  for (const LinearGroup* group : {&block.attention.qkv, &block.attention.wo,
                                   &block.feed_forward.gate_up, &block.feed_forward.down}) {
    sizes.column_amax += column_amax_bytes(*group);
  }
  for (const Parameter& parameter : unit.parameters) {
    sizes.gradients +=
        parameter.size() *
        static_cast<int64_t>(c10::elementSize(gradient_dtype(sharder, unit, parameter)));
  }
  return sizes;
}

// Leaves the block's output and what it keeps.
void forward(Timeline& memory, const BlockSizes& s, Recompute recompute) {
  memory.alloc(s.column_amax);
  memory.alloc(s.stream + s.rstd);  // norm
  memory.alloc(s.attention_kept());
  memory.alloc(s.stream);  // mid
  memory.free(s.stream);   // the norm's output, overwritten by the next
  memory.alloc(s.stream + s.rstd);
  memory.alloc(s.gate_up + s.hidden);
  memory.pulse(s.stream + s.hidden_copy);
  memory.alloc(s.stream);  // out
  memory.free(s.hidden + s.stream);
  if (recompute != Recompute::kNothing) memory.free(s.gate_up);
  if (recompute == Recompute::kBlock) {
    memory.free(s.attention_kept() + s.stream + 2 * s.rstd + s.column_amax);
  }
}

// Starts with the gradient of the output in use, ends with that of the input in its place.
void backward(Timeline& memory, const BlockSizes& s, Recompute recompute, bool first_micro_batch) {
  if (first_micro_batch) memory.alloc(s.gradients);
  if (recompute == Recompute::kBlock) {
    memory.alloc(s.stream + 2 * s.rstd + s.column_amax + s.attention_kept() + s.stream);
    memory.free(s.stream);
  }
  if (recompute != Recompute::kNothing) {
    memory.alloc(s.stream + s.gate_up);
    memory.free(s.stream);
  }
  memory.alloc(s.hidden);
  memory.pulse(2 * s.stream_copy + s.hidden_copy);  // of dy and the SwiGLU output
  memory.free(s.hidden);
  memory.pulse(2 * s.gate_up_copy + s.stream);
  memory.alloc(s.stream);      // dnorm
  memory.alloc(2 * s.stream);  // dmid, normed
  memory.free(3 * s.stream);   // dy, dnorm, mid
  memory.pulse(2 * s.gate_up_copy + s.stream_copy);
  memory.free(s.gate_up + s.stream);
  memory.alloc(s.stream);  // gradient of the attention output
  memory.alloc(s.attention_backward);
  memory.free(s.attention_kept() + s.attention_backward - s.qkv);
  memory.alloc(s.qkv);
  memory.free(s.qkv + s.stream);
  memory.alloc(3 * s.stream);  // dnorm, dx, normed
  memory.pulse(2 * s.qkv_copy + s.stream_copy);
  memory.free(4 * s.stream + s.qkv + 2 * s.rstd + s.column_amax);
}

// What a block keeps between its forward and its backward, the bytes of its Saved.
int64_t kept(const BlockSizes& s, Recompute recompute) {
  if (recompute == Recompute::kBlock) return s.stream;
  const int64_t all_but_gate_up = 2 * s.stream + 2 * s.rstd + s.attention_kept() + s.column_amax;
  return recompute == Recompute::kGateUp ? all_but_gate_up : all_but_gate_up + s.gate_up;
}

// The walk of one micro-batch. The first of a step allocates the gradients, later ones find them.
void micro_batch(Timeline& memory, const DecoderConfig& model,
                 const std::vector<BlockSizes>& blocks, int64_t tokens, int64_t element,
                 bool first) {
  const int64_t dim = model.embedding.dim, vocab = model.embedding.vocab_size;
  const std::string which = first ? "" : ", second micro-batch";
  const int64_t stream = tokens * dim * element;
  memory.alloc(stream);  // the embedding's output
  for (size_t i = 0; i < blocks.size(); ++i) forward(memory, blocks[i], model.layers[i].recompute);
  memory.mark("forward" + which);

  if (first) memory.alloc(dim * 4 + vocab * dim * 4);
  memory.alloc(2 * stream + 2 * tokens * 4);  // norm's output and its gradient, rstd, losses
  const int64_t logits = std::min(tokens, Head::kChunkRows) * vocab * element;
  memory.alloc(logits);
  memory.free(logits + stream);
  memory.alloc(stream);  // dx
  memory.free(2 * stream + 2 * tokens * 4);
  memory.mark("head" + which);

  for (size_t i = blocks.size(); i-- > 0;) {
    backward(memory, blocks[i], model.layers[i].recompute, first);
    memory.mark(concat("backward of layers.", i, which));
  }
  if (first) memory.alloc(vocab * dim * 4);
  memory.free(stream);
  memory.mark("backward of tok_embeddings" + which);
}

std::string gib(int64_t bytes) {
  char text[32];
  std::snprintf(text, sizeof text, "%8.2f GiB", static_cast<double>(bytes) / (1ull << 30));
  return text;
}

}  // namespace

MemoryPlan plan_memory(const DecoderConfig& model, const MemoryPlanConfig& config) {
  const SharderConfig& sharder = config.sharder;
  const int64_t tokens = config.batch * config.seq_len;
  const int64_t element = static_cast<int64_t>(c10::elementSize(sharder.compute_dtype));
  const std::vector<Unit> units = declare_units(model);

  MemoryPlan plan;
  for (const Unit& unit : units) {
    for (const Parameter& parameter : unit.parameters) {
      const int64_t master = static_cast<int64_t>(c10::elementSize(sharder.parameter_dtype));
      plan.masters += parameter.size() * master;
      plan.moments += 2 * parameter.size() * master;
      if (sharder.compute_dtype != sharder.parameter_dtype && !parameter.only_float8()) {
        plan.compute_copies += parameter.size() * element;
      }
      for (const ParameterRun& run : parameter.runs) {
        if (run.recipe) plan.float8_copies += 2 * run.rows * parameter.shape[1];
      }
      plan.gradients +=
          parameter.size() *
          static_cast<int64_t>(c10::elementSize(gradient_dtype(sharder, unit, parameter)));
    }
  }
  plan.workspace = kMatmulWorkspace + config.seq_len * model.layers.front().attention.head_dim * 4;
  std::vector<BlockSizes> blocks;
  for (size_t i = 0; i < model.layers.size(); ++i) {
    blocks.push_back(sizes_of(model.layers[i], units[i + 1], tokens, sharder));
    plan.saved_activations += kept(blocks.back(), model.layers[i].recompute);
  }

  Timeline memory(plan.masters + plan.compute_copies + plan.float8_copies + plan.moments +
                  plan.workspace);
  memory.alloc(sharder.micro_batches * 2 * tokens * 4);  // tokens and labels
  micro_batch(memory, model, blocks, tokens, element, /*first=*/true);
  if (sharder.micro_batches > 1) {  // those after the second are like it
    micro_batch(memory, model, blocks, tokens, element, /*first=*/false);
  }
  memory.mark("optimizer");

  plan.timeline = memory.moments();
  plan.peak = *std::max_element(
      plan.timeline.begin(), plan.timeline.end(),
      [](const MemoryMoment& a, const MemoryMoment& b) { return a.bytes < b.bytes; });
  return plan;
}

std::string describe(const MemoryPlan& plan) {
  return concat("Memory planned on this rank:\n",                                  //
                "  weights, fp32 masters    ", gib(plan.masters), "\n",            //
                "  weights, compute copies  ", gib(plan.compute_copies), "\n",     //
                "  weights, float8 copies   ", gib(plan.float8_copies), "\n",      //
                "  optimizer moments        ", gib(plan.moments), "\n",            //
                "  saved activations        ", gib(plan.saved_activations), "\n",  //
                "  gradients                ", gib(plan.gradients), "\n",          //
                "  workspace, tables        ", gib(plan.workspace), "\n",          //
                "  peak                     ", gib(plan.peak.bytes), " (", plan.peak.name, ")");
}

}  // namespace titan
