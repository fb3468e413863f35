#include "lib/model/decoder.hpp"

#include "lib/base/error.hpp"

namespace titan {

std::vector<Unit> declare_units(const DecoderConfig& config, const TensorParallelRank& tp) {
  std::vector<Unit> units = {Embedding::declare(config.embedding, tp)};
  for (size_t layer = 0; layer < config.layers.size(); ++layer) {
    units.push_back(TransformerBlock::declare(config.layers[layer], concat("layers.", layer), tp));
  }
  units.push_back(Head::declare(config, tp));
  return units;
}

Decoder build(const DecoderConfig& config) {
  Decoder decoder{.embedding = Embedding(config.embedding), .blocks = {}, .head = Head(config)};
  for (const BlockConfig& block : config.layers) {
    decoder.blocks.push_back(std::make_unique<TransformerBlock>(block));
  }
  return decoder;
}

}  // namespace titan
