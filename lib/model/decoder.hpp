// The modules of a model, in the order of its units: embedding, blocks, head.
#pragma once

#include <memory>
#include <vector>

#include "lib/model/declare.hpp"
#include "lib/model/decoder_config.hpp"
#include "lib/model/embedding.hpp"
#include "lib/model/head.hpp"
#include "lib/model/transformer_block.hpp"

namespace titan {

struct Decoder {
  Embedding embedding;
  std::vector<std::unique_ptr<Block>> blocks;
  Head head;

  // Unit numbers: 0 is the embedding, 1 + i block i, then the head.
  size_t block_unit(size_t block) const { return 1 + block; }
  size_t head_unit() const { return 1 + blocks.size(); }
};

// The declared, not yet allocated parameters of every unit, as one tensor-parallel rank has
// them.
std::vector<Unit> declare_units(const DecoderConfig& config, const TensorParallelRank& tp = {});

Decoder build(const DecoderConfig& config);

}  // namespace titan
