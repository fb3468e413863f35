// Which models exist, by torchtitan's names and flavours.
#pragma once

#include <string>

#include "lib/model/decoder_config.hpp"

namespace titan {

// What a job may change of a flavour.
struct FlavorOverrides {
  int64_t n_layers = 0;    // 0: the flavour's
  int64_t vocab_size = 0;  // 0: the flavour's
  int64_t seq_len = 0;     // becomes the model's max_seq_len, as upstream
};

// The tree of a flavour. Throws InputError with the choices for an unknown name or flavour, and by
// name for flavours whose attention is not there yet (flex, varlen).
DecoderConfig registry(const std::string& name, const std::string& flavor,
                       const FlavorOverrides& overrides);

}  // namespace titan
