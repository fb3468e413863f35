#include "lib/model/declare.hpp"

namespace titan {

Parameter declare_norm(const NormConfig& config, const std::string& name) {
  Parameter parameter;
  parameter.members = {
      {name + ".weight", config.dim, {.kind = ops::Initializer::Kind::kConstant, .mean = 1}}};
  parameter.shape = {config.dim};
  return parameter;
}

Parameter declare_linears(const LinearGroup& group, const std::string& prefix) {
  Parameter parameter;
  for (const LinearConfig& linear : group.members) {
    parameter.members.push_back(
        {prefix + linear.name + ".weight", linear.out_features, linear.initializer});
    const ParameterRun* last = parameter.runs.empty() ? nullptr : &parameter.runs.back();
    if (last != nullptr && last->recipe == linear.float8 &&
        last->emulated == linear.emulate_float8) {
      parameter.runs.back().rows += linear.out_features;
    } else {
      const int64_t first = last == nullptr ? 0 : last->first_row + last->rows;
      parameter.runs.push_back({first, linear.out_features, linear.float8, linear.emulate_float8});
    }
  }
  parameter.shape = {group.out_features(), group.in_features()};
  return parameter;
}

}  // namespace titan
