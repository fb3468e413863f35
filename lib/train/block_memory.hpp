// What a transformer block's activations take on one rank: its forward and backward with sizes in
// place of tensors. The block's modules and this walk read the same recompute field.
#pragma once

#include <cstdint>

#include "lib/model/decoder_config.hpp"
#include "lib/train/memory_timeline.hpp"
#include "lib/train/plan_config.hpp"

namespace titan {

// What a linear group adds for its products, in bytes: float8 copies of its input and of its
// output's gradient, a byte an element.
struct GroupBytes {
  int64_t input_row = 0, input_column = 0;  // forward and wgrad
  int64_t dy_row = 0, dy_column = 0;        // dgrad and wgrad
  int64_t column_amax = 0;                  // fp32 [K], kept from forward to backward
  bool only_copies = false;                 // the input itself is not in memory for forward
  bool wgrad_only_copies = false;           // nor for wgrad
};

GroupBytes group_bytes(const LinearGroup& group, int64_t tokens);

class BlockMemory {
 public:
  // `block`: of one tensor-parallel rank (tensor_parallel_part()).
  BlockMemory(const BlockConfig& block, const PlanConfig& config);

  // Leaves the block's output and what it keeps.
  void forward(MemoryTimeline& memory) const;
  // Starts with the gradient of the output in use, on many tensor-parallel ranks of all tokens too;
  // ends with that of the input in its place.
  void backward(MemoryTimeline& memory) const;
  // What the block keeps between the two: the bytes of its Saved.
  int64_t kept() const;

 private:
  int64_t attention_kept() const { return qkv_out_ + attended_ + lse_ + wo_.column_amax; }
  int64_t norm_kept(const GroupBytes& linear) const { return rstd_ + linear.column_amax; }
  void norm_and_linear_forward(MemoryTimeline& memory, const GroupBytes& linear, int64_t out) const;
  void linear_and_norm_backward(MemoryTimeline& memory, const GroupBytes& linear, int64_t dy) const;
  void attention_forward(MemoryTimeline& memory) const;
  void scattered(MemoryTimeline& memory) const;

  Recompute recompute_;
  int64_t tp_;                  // tensor-parallel ranks
  bool split_, async_;          // more than one; their tokens travel rank by rank
  int64_t stream_;              // [T/tp, D]: residual, norm output, their gradients
  int64_t gathered_;            // [T, D] beside it where tokens are gathered or scattered, else 0
  int64_t qkv_out_;             // [T, (H + 2 KV) head_dim], of this rank's heads
  int64_t attended_;            // [T, H head_dim]: attention output, its gradient
  int64_t lse_;                 // fp32 [B, H, S]
  int64_t rstd_;                // fp32 [T/tp]
  int64_t hidden_;              // [T, F], of this rank's channels
  int64_t gate_up_out_;         // [T, 2 F]
  int64_t attention_backward_;  // dq, dk, dv and the kernel's fp32 accumulator of dq
  GroupBytes qkv_, wo_, gate_up_, down_;
};

}  // namespace titan
