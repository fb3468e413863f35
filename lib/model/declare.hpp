// From configs to declared (not yet allocated) parameters.
#pragma once

#include "lib/model/decoder_config.hpp"
#include "lib/parallel/parameter.hpp"

namespace titan {

// "<name>.weight", ones.
Parameter declare_norm(const NormConfig& config, const std::string& name);

// One matrix whose members are "<prefix><linear name>.weight".
Parameter declare_linears(const LinearGroup& group, const std::string& prefix);

}  // namespace titan
