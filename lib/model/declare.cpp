#include "lib/model/declare.hpp"

#include "lib/base/error.hpp"

namespace titan {
namespace {

// The part of an extent that tensor parallelism splits.
int64_t part(int64_t extent, const std::string& name, const TensorParallelRank& tp) {
  TITAN_CHECK(extent % tp.size == 0, name, ": ", extent, " cannot be split among ", tp.size,
              " tensor-parallel ranks");
  return extent / tp.size;
}

}  // namespace

Parameter declare_norm(const NormConfig& config, const std::string& name) {
  Parameter parameter;
  parameter.members = {{.name = name + ".weight",
                        .rows = config.dim,
                        .initializer = {.kind = ops::Initializer::Kind::kConstant, .mean = 1},
                        .global_shape = {config.dim},
                        .offset = {0}}};
  parameter.shape = {config.dim};
  return parameter;
}

ParameterMember declare_member(const std::string& name, int64_t rows, int64_t columns,
                               const ops::Initializer& initializer, TensorParallelRole role,
                               const TensorParallelRank& tp) {
  ParameterMember member{.name = name,
                         .rows = rows,
                         .initializer = initializer,
                         .global_shape = {rows, columns},
                         .offset = {0, 0}};
  if (role == TensorParallelRole::kColumn) {
    member.rows = part(rows, name, tp);
    member.offset[0] = tp.rank * member.rows;
  } else if (role == TensorParallelRole::kRow) {
    member.offset[1] = tp.rank * part(columns, name, tp);
  }
  return member;
}

Parameter declare_linears(const LinearGroup& group, const std::string& prefix,
                          const TensorParallelRank& tp) {
  Parameter parameter;
  int64_t rows = 0;
  for (const LinearConfig& linear : group.members) {
    ParameterMember member =
        declare_member(prefix + linear.name + ".weight", linear.out_features, linear.in_features,
                       linear.initializer, linear.role, tp);
    const ParameterRun* last = parameter.runs.empty() ? nullptr : &parameter.runs.back();
    if (last != nullptr && last->recipe == linear.float8 &&
        last->emulated == linear.emulate_float8) {
      parameter.runs.back().rows += member.rows;
    } else {
      parameter.runs.push_back({rows, member.rows, linear.float8, linear.emulate_float8});
    }
    rows += member.rows;
    parameter.members.push_back(std::move(member));
  }
  const bool by_inputs = group.members.front().role == TensorParallelRole::kRow;
  parameter.shape = {rows, by_inputs ? group.in_features() / tp.size : group.in_features()};
  return parameter;
}

}  // namespace titan
