// From configs to declared (not yet allocated) parameters.
#pragma once

#include "lib/model/decoder_config.hpp"
#include "lib/parallel/parameter.hpp"

namespace titan {

// Which part of the parameters that tensor parallelism splits is this rank's.
struct TensorParallelRank {
  int64_t rank = 0;
  int64_t size = 1;
};

// "<name>.weight", ones.
Parameter declare_norm(const NormConfig& config, const std::string& name);

// One matrix whose members are "<prefix><linear name>.weight": this rank's block of each, by the
// linears' roles. Throws Error where a dimension that is split is no multiple of tp.size.
Parameter declare_linears(const LinearGroup& group, const std::string& prefix,
                          const TensorParallelRank& tp = {});

// A [rows, columns] tensor of which this rank holds equal parts of the rows or columns.
ParameterMember declare_member(const std::string& name, int64_t rows, int64_t columns,
                               const ops::Initializer& initializer, TensorParallelRole role,
                               const TensorParallelRank& tp);

}  // namespace titan
