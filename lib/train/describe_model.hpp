// A model in the words that checkpoints and titan-convert use of it.
#pragma once

#include "lib/checkpoint/model_description.hpp"
#include "lib/model/decoder_config.hpp"

namespace titan {

ModelDescription describe_model(const DecoderConfig& model);

}  // namespace titan
