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

// What a linear group adds for its products: float8 copies of its input and of its output's
// gradient, a byte an element.
struct GroupSizes {
  int64_t input_row = 0, input_column = 0;  // forward and wgrad
  int64_t dy_row = 0, dy_column = 0;        // dgrad and wgrad
  int64_t column_amax = 0;                  // fp32 [K], kept from forward to backward
  bool only_copies = false;                 // the input itself is not in memory for forward
  bool wgrad_only_copies = false;           // nor for wgrad
};

GroupSizes sizes_of(const LinearGroup& group, int64_t tokens) {
  const auto count = [&](auto&& wanted) {
    return std::count_if(group.members.begin(), group.members.end(), wanted);
  };
  const int64_t members = static_cast<int64_t>(group.members.size());
  const int64_t in_float8 =
      count([](const LinearConfig& linear) { return linear.float8.has_value(); });
  const int64_t rowwise =
      count([](const LinearConfig& linear) { return linear.float8 == Float8Recipe::kRowwise; });
  GroupSizes sizes;
  sizes.only_copies = in_float8 == members;
  sizes.wgrad_only_copies = rowwise == members;
  if (in_float8 > 0) sizes.input_row = tokens * group.in_features();
  if (rowwise > 0) {
    sizes.input_column = tokens * group.in_features();
    sizes.column_amax = group.in_features() * 4;
  }
  for (const LinearConfig& linear : group.members) {
    if (linear.float8) sizes.dy_row += tokens * linear.out_features;
    if (linear.float8 == Float8Recipe::kRowwise) sizes.dy_column += tokens * linear.out_features;
  }
  return sizes;
}

// Sizes of one block's tensors in bytes.
struct BlockSizes {
  int64_t stream;              // [T, D]: residual, norm output, attention output, their gradients
  int64_t qkv_out;             // [T, (H + 2 KV) head_dim]
  int64_t lse;                 // fp32 [B, H, S]
  int64_t rstd;                // fp32 [T]
  int64_t gate_up_out;         // [T, 2 F]
  int64_t hidden;              // [T, F]
  int64_t attention_backward;  // dq, dk, dv and the kernel's fp32 accumulator of dq
  int64_t gradients;
  GroupSizes qkv, wo, gate_up, down;

  int64_t attention_kept() const { return qkv_out + stream + lse + wo.column_amax; }
  int64_t norm_kept(const GroupSizes& linear) const { return rstd + linear.column_amax; }
};

BlockSizes sizes_of(const BlockConfig& block, const Unit& unit, int64_t tokens,
                    const SharderConfig& sharder) {
  const int64_t element = static_cast<int64_t>(c10::elementSize(sharder.compute_dtype));
  const int64_t heads = block.attention.heads;
  BlockSizes sizes{};
  sizes.stream = tokens * block.attention_norm.dim * element;
  sizes.qkv_out = tokens * block.attention.qkv.out_features() * element;
  sizes.lse = tokens * heads * 4;
  sizes.rstd = tokens * 4;
  sizes.hidden = tokens * block.feed_forward.hidden * element;
  sizes.gate_up_out = 2 * sizes.hidden;
  sizes.attention_backward = sizes.qkv_out + tokens * heads * (block.attention.head_dim * 4 + 4);
  sizes.qkv = sizes_of(block.attention.qkv, tokens);
  sizes.wo = sizes_of(block.attention.wo, tokens);
  sizes.gate_up = sizes_of(block.feed_forward.gate_up, tokens);
  sizes.down = sizes_of(block.feed_forward.down, tokens);
  for (const Parameter& parameter : unit.parameters) {
    sizes.gradients += parameter.size() * static_cast<int64_t>(c10::elementSize(gradient_dtype(
                                              sharder, MeshShape{}, unit, parameter)));
  }
  return sizes;
}

// A linear group's input of `bytes` and its row copy.
int64_t input_bytes(const GroupSizes& linear, int64_t bytes) {
  return (linear.only_copies ? 0 : bytes) + linear.input_row;
}

int64_t wgrad_input_bytes(const GroupSizes& linear, int64_t bytes) {
  return (linear.wgrad_only_copies ? 0 : bytes) + linear.input_column;
}

// From the block's input to what attention keeps and its sum with the residual; leaves the norm's
// output too, whose bytes it returns.
int64_t attention_forward(Timeline& memory, const BlockSizes& s) {
  const int64_t normed = input_bytes(s.qkv, s.stream);
  memory.alloc(normed + s.norm_kept(s.qkv));
  memory.alloc(s.attention_kept());
  memory.pulse(s.wo.input_row + s.stream);
  memory.alloc(s.stream);
  return normed;
}

// Leaves the block's output and what it keeps.
void forward(Timeline& memory, const BlockSizes& s, Recompute recompute) {
  const int64_t attention_normed = attention_forward(memory, s);
  const int64_t normed = input_bytes(s.gate_up, s.stream);
  memory.alloc(normed + s.norm_kept(s.gate_up));
  memory.free(attention_normed);
  const int64_t hidden = input_bytes(s.down, s.hidden);
  memory.alloc(s.gate_up_out + s.down.column_amax + hidden);
  memory.alloc(s.stream);  // out
  memory.free(hidden + normed);
  if (recompute != Recompute::kNothing) memory.free(s.gate_up_out);
  if (recompute == Recompute::kBlock) {
    memory.free(s.attention_kept() + s.stream + s.norm_kept(s.qkv) + s.norm_kept(s.gate_up));
  }
}

// Starts with the gradient of the output in use, ends with that of the input in its place.
void backward(Timeline& memory, const BlockSizes& s, Recompute recompute, bool first_micro_batch) {
  if (first_micro_batch) memory.alloc(s.gradients);
  if (recompute == Recompute::kBlock) {
    memory.free(attention_forward(memory, s));
    memory.alloc(s.norm_kept(s.gate_up));
  }
  if (recompute != Recompute::kNothing) {
    const int64_t normed = input_bytes(s.gate_up, s.stream);
    memory.alloc(normed + s.gate_up_out);
    memory.free(normed);
  }

  // Feed-forward: down, the SwiGLU, gate and up. In use: gate_up_out, which becomes its gradient.
  memory.alloc(s.down.dy_row + s.down.dy_column);
  if (s.down.wgrad_only_copies) {
    memory.pulse(s.down.input_column);
    memory.alloc(s.hidden);  // its gradient
    memory.free(s.down.dy_row + s.down.dy_column);
  } else {
    memory.alloc(s.hidden);
    if (s.gate_up.only_copies) memory.pulse(s.gate_up.dy_row + s.down.input_column);
    memory.pulse(s.down.input_column);
    memory.free(s.down.dy_row + s.down.dy_column);
  }
  if (s.gate_up.only_copies) memory.pulse(s.gate_up.dy_row);
  memory.free(s.hidden);
  memory.alloc(s.gate_up.dy_row + s.gate_up.dy_column);
  memory.alloc(s.stream);  // gradient of the norm's output
  memory.alloc(s.stream);  // of mid
  const int64_t mid_copy = s.wo.only_copies ? s.wo.dy_row : 0;
  memory.alloc(mid_copy + wgrad_input_bytes(s.gate_up, s.stream));
  memory.free(3 * s.stream);  // the gradients of the output and of the norm's output, mid
  memory.free(s.gate_up.dy_row + s.gate_up.dy_column + s.gate_up_out +
              wgrad_input_bytes(s.gate_up, s.stream));

  // Attention: wo, attention, qkv. In use: the gradient of mid and its row copy.
  memory.alloc(s.wo.dy_row - mid_copy + s.wo.dy_column);
  memory.alloc(s.stream);  // gradient of the attention output
  memory.pulse(s.wo.input_column);
  memory.free(s.wo.dy_row - mid_copy + s.wo.dy_column);
  memory.alloc(s.attention_backward);
  memory.free(s.stream + s.lse + s.attention_backward);  // but for dq, dk and dv
  memory.alloc(s.qkv_out);                               // the rotated gradients side by side
  memory.alloc(s.qkv.dy_row + s.qkv.dy_column);
  memory.free(s.qkv_out + s.stream + mid_copy);
  memory.alloc(2 * s.stream);  // gradients of the norm's output and of the input
  memory.alloc(wgrad_input_bytes(s.qkv, s.stream));
  memory.free(s.qkv.dy_row + s.qkv.dy_column + s.qkv_out + wgrad_input_bytes(s.qkv, s.stream));
  memory.free(3 * s.stream);  // the gradients of mid and of the norm's output, the input
  memory.free(s.norm_kept(s.qkv) + s.norm_kept(s.gate_up) + s.wo.column_amax + s.down.column_amax);
}

// What a block keeps between its forward and its backward, the bytes of its Saved.
int64_t kept(const BlockSizes& s, Recompute recompute) {
  if (recompute == Recompute::kBlock) return s.stream + s.down.column_amax;
  const int64_t all_but_gate_up = 2 * s.stream + s.norm_kept(s.qkv) + s.norm_kept(s.gate_up) +
                                  s.attention_kept() + s.down.column_amax;
  return recompute == Recompute::kGateUp ? all_but_gate_up : all_but_gate_up + s.gate_up_out;
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
  const int64_t rows = std::min(tokens, Head::kChunkRows);
  const GroupSizes output = sizes_of(model.output, rows);
  const int64_t logits = rows * vocab * element;
  const int64_t copies = output.input_row + output.column_amax + output.dy_row + output.dy_column;
  memory.alloc(logits + copies);
  memory.pulse(output.input_column);
  memory.free(logits + copies + stream);
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
      plan.moments +=
          2 * parameter.size() * static_cast<int64_t>(c10::elementSize(sharder.moment_dtype()));
      if (sharder.compute_dtype != sharder.parameter_dtype && !parameter.only_float8()) {
        plan.compute_copies += parameter.size() * element;
      }
      for (const ParameterRun& run : parameter.runs) {
        if (run.recipe) plan.float8_copies += 2 * run.rows * parameter.shape[1];
      }
      plan.gradients += parameter.size() * static_cast<int64_t>(c10::elementSize(gradient_dtype(
                                               sharder, MeshShape{}, unit, parameter)));
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
                "  weights, masters         ", gib(plan.masters), "\n",            //
                "  weights, compute copies  ", gib(plan.compute_copies), "\n",     //
                "  weights, float8 copies   ", gib(plan.float8_copies), "\n",      //
                "  optimizer moments        ", gib(plan.moments), "\n",            //
                "  saved activations        ", gib(plan.saved_activations), "\n",  //
                "  gradients                ", gib(plan.gradients), "\n",          //
                "  workspace, tables        ", gib(plan.workspace), "\n",          //
                "  peak                     ", gib(plan.peak.bytes), " (", plan.peak.name, ")");
}

}  // namespace titan
