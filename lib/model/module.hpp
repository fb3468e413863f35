// What every module shares. A module owns both directions: forward(context, weights, x, saved) and
// backward(context, weights, gradients, dy, saved) stand side by side in one file, and its Saved
// struct names what is kept between them. Modules hold sizes, never tensors; activations are
// [T, D] with T = batch * seq_len, in the compute dtype. Between blocks each tensor-parallel rank
// has T / tp of the tokens (token_parallel.hpp).
#pragma once

#include <ATen/core/Tensor.h>

#include "lib/ops/device.hpp"
#include "lib/parallel/peer_channels.hpp"
#include "lib/parallel/sharder.hpp"

namespace titan {

// What a walk over the units carries with it.
struct StepContext {
  const ops::Device& device;
  int64_t batch = 0;  // sequences in this micro-batch
  int64_t seq_len = 0;
  at::Tensor rope_table = {};                  // ops::rope_table for seq_len
  Group tp = {};                               // the tensor-parallel ranks
  const ops::SideStream* tp_stream = nullptr;  // for their communication; null: one rank
  PeerChannels* peers = nullptr;  // async tensor parallel: messages between them; null: off
  bool loss_parallel = true;      // no rank has logits of the whole vocabulary
};

}  // namespace titan
