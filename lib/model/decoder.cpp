#include "lib/model/decoder.hpp"

#include "lib/base/error.hpp"

namespace titan {

std::vector<Unit> declare_units(const DecoderConfig& config) {
  std::vector<Unit> units = {Embedding::declare(config.embedding)};
  for (size_t layer = 0; layer < config.layers.size(); ++layer) {
    units.push_back(TransformerBlock::declare(config.layers[layer], concat("layers.", layer)));
  }
  units.push_back(Head::declare(config));
  return units;
}

Decoder build(const DecoderConfig& config) {
  Decoder decoder{.embedding = {}, .blocks = {}, .head = Head(config)};
  for (const BlockConfig& block : config.layers) {
    decoder.blocks.push_back(std::make_unique<TransformerBlock>(block));
  }
  return decoder;
}

}  // namespace titan
