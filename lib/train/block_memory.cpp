#include "lib/train/block_memory.hpp"

#include <algorithm>

namespace titan {

GroupBytes group_bytes(const LinearGroup& group, int64_t tokens) {
  const auto count = [&](auto&& wanted) {
    return std::count_if(group.members.begin(), group.members.end(), wanted);
  };
  const int64_t members = static_cast<int64_t>(group.members.size());
  const int64_t in_float8 =
      count([](const LinearConfig& linear) { return linear.float8.has_value(); });
  const int64_t rowwise =
      count([](const LinearConfig& linear) { return linear.float8 == Float8Recipe::kRowwise; });
  GroupBytes bytes;
  bytes.only_copies = in_float8 == members;
  bytes.wgrad_only_copies = rowwise == members;
  if (in_float8 > 0) bytes.input_row = tokens * group.in_features();
  if (rowwise > 0) {
    bytes.input_column = tokens * group.in_features();
    bytes.column_amax = group.in_features() * 4;
  }
  for (const LinearConfig& linear : group.members) {
    if (linear.float8) bytes.dy_row += tokens * linear.out_features;
    if (linear.float8 == Float8Recipe::kRowwise) bytes.dy_column += tokens * linear.out_features;
  }
  return bytes;
}

BlockMemory::BlockMemory(const BlockConfig& block, const PlanConfig& config)
    : recompute_(block.recompute),
      tp_(config.mesh.tp),
      split_(tp_ > 1),
      async_(split_ && config.async_tensor_parallel) {
  const int64_t tokens = config.tokens(), element = config.element();
  const int64_t own_tokens = tokens / tp_;
  const AttentionConfig& attention = block.attention;
  stream_ = own_tokens * block.attention_norm.dim * element;
  gathered_ = split_ ? tokens * block.attention_norm.dim * element : 0;
  qkv_out_ = tokens * attention.qkv.out_features() * element;
  attended_ = tokens * attention.wo.in_features() * element;
  lse_ = tokens * attention.heads * 4;
  rstd_ = own_tokens * 4;
  hidden_ = tokens * block.feed_forward.hidden * element;
  gate_up_out_ = 2 * hidden_;
  attention_backward_ = qkv_out_ + tokens * attention.heads * (attention.head_dim * 4 + 4);
  qkv_ = group_bytes(attention.qkv, tokens);
  wo_ = group_bytes(attention.wo, tokens);
  gate_up_ = group_bytes(block.feed_forward.gate_up, tokens);
  down_ = group_bytes(block.feed_forward.down, tokens);
}

// A norm and the linear group behind it. Leaves the group's output, of `out` bytes, and what is
// kept of the norm.
void BlockMemory::norm_and_linear_forward(MemoryTimeline& memory, const GroupBytes& linear,
                                          int64_t out) const {
  memory.alloc(norm_kept(linear));
  if (!split_) {
    const int64_t normed = (linear.only_copies ? 0 : stream_) + linear.input_row;
    memory.alloc(normed + out);
    memory.free(normed);
  } else if (async_) {  // copies are made of one rank's tokens at a time
    memory.alloc(gathered_ + out);
    memory.pulse(linear.input_row / tp_);
    memory.free(gathered_);
  } else {  // this rank's tokens, then all of them, from which the copies are made
    memory.alloc(stream_ + gathered_ + linear.input_row);
    const int64_t normed = linear.only_copies ? 0 : gathered_;
    memory.free(gathered_ - normed);
    memory.alloc(out);
    memory.free(stream_ + normed + linear.input_row);
  }
}

// A product of all tokens, a part of the sum on each rank, and of the sum this rank's tokens, which
// it leaves.
void BlockMemory::scattered(MemoryTimeline& memory) const {
  const int64_t others = async_ ? 2 * (gathered_ - stream_) : gathered_;  // async: sent, received
  memory.pulse(others + stream_);
  memory.alloc(stream_);
}

// From the block's input to what attention keeps and its sum with the residual.
void BlockMemory::attention_forward(MemoryTimeline& memory) const {
  norm_and_linear_forward(memory, qkv_, qkv_out_);
  memory.alloc(attention_kept() - qkv_out_);
  memory.alloc(wo_.input_row);
  scattered(memory);
  memory.free(wo_.input_row);
}

void BlockMemory::forward(MemoryTimeline& memory) const {
  attention_forward(memory);
  norm_and_linear_forward(memory, gate_up_, gate_up_out_);
  const int64_t hidden = (down_.only_copies ? 0 : hidden_) + down_.input_row;
  memory.alloc(down_.column_amax + hidden);
  scattered(memory);  // the block's output
  memory.free(hidden);
  if (recompute_ != Recompute::kNothing) memory.free(gate_up_out_);
  if (recompute_ == Recompute::kBlock) {
    memory.free(attention_kept() + stream_ + norm_kept(qkv_) + norm_kept(gate_up_));
  }
}

void BlockMemory::backward(MemoryTimeline& memory) const {
  if (recompute_ == Recompute::kBlock) attention_forward(memory);
  if (recompute_ == Recompute::kGateUp) memory.free(norm_kept(gate_up_));  // anew
  if (recompute_ != Recompute::kNothing) {
    norm_and_linear_forward(memory, gate_up_, gate_up_out_);
  }

  // Feed-forward: down, the SwiGLU. In use: gate_up_out, which becomes its gradient.
  memory.alloc(down_.dy_row + down_.dy_column);
  if (down_.wgrad_only_copies) {
    memory.pulse(down_.input_column);
    memory.alloc(hidden_);  // its gradient
    memory.free(down_.dy_row + down_.dy_column);
  } else {
    memory.alloc(hidden_);
    if (gate_up_.only_copies) memory.pulse(gate_up_.dy_row + down_.input_column);
    memory.pulse(down_.input_column);
    memory.free(down_.dy_row + down_.dy_column);
  }
  if (gate_up_.only_copies) memory.pulse(gate_up_.dy_row);
  memory.free(hidden_);
  memory.alloc(gate_up_.dy_row + gate_up_.dy_column);
  memory.free(gathered_);
  const int64_t mid_copy = wo_.only_copies && !split_ ? wo_.dy_row : 0;
  memory.alloc(mid_copy);
  linear_and_norm_backward(memory, gate_up_, gate_up_out_);

  // Attention: wo, attention. In use: the gradient of mid and its row copy.
  memory.alloc(wo_.dy_row - mid_copy + wo_.dy_column);
  memory.alloc(attended_);  // gradient of the attention output
  memory.pulse(wo_.input_column);
  memory.free(wo_.dy_row - mid_copy + wo_.dy_column);
  memory.alloc(attention_backward_);
  memory.free(attended_ + lse_ + attention_backward_);  // but for dq, dk and dv
  memory.alloc(qkv_out_);                               // the rotated gradients side by side
  memory.alloc(qkv_.dy_row + qkv_.dy_column);
  memory.free(qkv_out_ + attended_ + mid_copy + gathered_);
  linear_and_norm_backward(memory, qkv_, qkv_out_);
  memory.free(norm_kept(qkv_) + norm_kept(gate_up_) + wo_.column_amax + down_.column_amax);
}

// The input gradient of a linear group, the norm before it, the group's weight gradient. In use:
// the gradient of the group's output, of `dy` bytes, and its copies; the norm's input; the gradient
// that reaches it past the norm. Leaves its whole gradient.
void BlockMemory::linear_and_norm_backward(MemoryTimeline& memory, const GroupBytes& linear,
                                           int64_t dy) const {
  const int64_t y = linear.wgrad_only_copies ? 0 : std::max(stream_, gathered_);
  if (split_) {
    memory.alloc(stream_ + gathered_);  // the norm's output again: this rank's tokens, then all
    memory.alloc(gathered_ + stream_);  // its gradient: a part of the sum, then this rank's tokens
    memory.free(stream_);
    memory.alloc(linear.input_column);
    memory.free(gathered_ - y);
    memory.free(gathered_);  // the part of the sum
    memory.alloc(stream_);
    memory.free(3 *
                stream_);  // the gradient of the norm's output, the norm's input, what passed it
    memory.alloc(gathered_);
  } else {
    memory.alloc(2 * stream_ + y + linear.input_column);
    memory.free(3 * stream_);
  }
  memory.free(y + linear.input_column + dy + linear.dy_row + linear.dy_column);
}

int64_t BlockMemory::kept() const {
  if (recompute_ == Recompute::kBlock) return stream_ + down_.column_amax;
  const int64_t all_but_gate_up =
      2 * stream_ + norm_kept(qkv_) + norm_kept(gate_up_) + attention_kept() + down_.column_amax;
  return recompute_ == Recompute::kGateUp ? all_but_gate_up : all_but_gate_up + gate_up_out_;
}

}  // namespace titan
