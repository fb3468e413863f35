#include "lib/parallel/sharder.hpp"

#include <ATen/ATen.h>

#include <algorithm>

#include "lib/float8/quantize.hpp"

namespace titan {

at::ScalarType gradient_dtype(const SharderConfig& config, const Unit& unit,
                              const Parameter& parameter) {
  const bool block_matrix = unit.name.starts_with("layers.") && parameter.shape.size() == 2;
  if (block_matrix && config.micro_batches == 1) return config.compute_dtype;
  return config.compute_dtype == at::kDouble ? at::kDouble : at::kFloat;
}

Sharder::Sharder(std::vector<Unit> units, const SharderConfig& config, const ops::Device& device)
    : units_(std::move(units)), config_(config), device_(device.torch()) {
  auto options = at::TensorOptions().device(device_);
  for (Parameter* parameter : parameters()) {
    parameter->master = at::empty(parameter->shape, options.dtype(config_.parameter_dtype));
    if (config_.compute_dtype == config_.parameter_dtype) {
      parameter->compute = parameter->master;
    } else if (!parameter->only_float8()) {
      parameter->compute = at::empty(parameter->shape, options.dtype(config_.compute_dtype));
    }
  }
  for (const Unit& unit : units_) {
    Weights& weights = weights_.emplace_back();
    for (const Parameter& parameter : unit.parameters) {
      Weight& weight = weights.emplace_back(Weight{parameter.shape, parameter.compute, {}});
      for (const ParameterRun& run : parameter.runs) weight.runs.push_back({run, {}, {}});
    }
  }
  parameters_changed();
}

std::vector<Parameter*> Sharder::parameters() {
  std::vector<Parameter*> all;
  for (Unit& unit : units_) {
    for (Parameter& parameter : unit.parameters) all.push_back(&parameter);
  }
  return all;
}

void Sharder::initialise(uint64_t seed) {
  for (Parameter* parameter : parameters()) {
    for (size_t index = 0; index < parameter->members.size(); ++index) {
      const ParameterMember& member = parameter->members[index];
      ops::initialise_(parameter->member_rows(parameter->master, index), member.initializer, seed,
                       member.name, ops::TensorBlock{});
    }
  }
  refresh_compute();
}

void Sharder::allocate_moments() {
  for (Parameter* parameter : parameters()) {
    parameter->exp_avg = at::zeros_like(parameter->master, config_.moment_dtype());
    parameter->exp_avg_sq = at::zeros_like(parameter->master, config_.moment_dtype());
  }
}

void Sharder::refresh_compute() {
  for (Parameter* parameter : parameters()) {
    if (parameter->compute.defined() && !parameter->compute.is_same(parameter->master)) {
      parameter->compute.copy_(parameter->master);
    }
  }
  parameters_changed();
}

const Weights& Sharder::weights(size_t unit) {
  if (weights_stale_[unit]) quantise(unit, /*targets_written=*/false);
  return weights_[unit];
}

at::Tensor Sharder::rounding_target(const Parameter& parameter) const {
  if (config_.compute_dtype != at::kBFloat16 || parameter.compute.is_same(parameter.master)) {
    return {};
  }
  if (parameter.compute.defined()) return parameter.compute;
  const bool fits =
      parameter.gradient.defined() && parameter.gradient.scalar_type() == at::kBFloat16;
  return fits ? parameter.gradient : at::Tensor();
}

void Sharder::parameters_changed() { weights_stale_.assign(units_.size(), true); }

void Sharder::parameters_updated() {
  // fp32 copies of bf16 masters are widened, not rounded: the optimizer leaves them as they were.
  if (config_.compute_dtype != at::kBFloat16) return refresh_compute();
  parameters_changed();
  for (size_t unit = 0; unit < units_.size(); ++unit) {
    const bool targets_written = std::ranges::all_of(
        units_[unit].parameters,
        [&](const Parameter& parameter) { return rounding_target(parameter).defined(); });
    // At once, while they are there. The other units wait until they are asked for.
    if (targets_written) quantise(unit, targets_written);
  }
}

void Sharder::quantise(size_t unit, bool targets_written) {
  for (size_t i = 0; i < weights_[unit].size(); ++i) {
    const Parameter& parameter = units_[unit].parameters[i];
    // Always from the rounding to the compute dtype, as if the weight had been gathered in it.
    at::Tensor rounded = targets_written ? rounding_target(parameter) : parameter.compute;
    for (WeightRun& run : weights_[unit][i].runs) {
      if (!run.recipe) continue;
      if (!rounded.defined()) rounded = parameter.master.to(config_.compute_dtype);
      const auto scales = *run.recipe == Float8Recipe::kRowwise ? float8::ColumnScales::kPerColumn
                                                                : float8::ColumnScales::kPerTensor;
      float8::Float8Copies copies =
          float8::quantize_rows_and_columns(rounded.narrow(0, run.first_row, run.rows), scales);
      run.row = std::move(copies.row);
      run.column = std::move(copies.column);
    }
  }
  weights_stale_[unit] = false;
}

Gradients Sharder::gradients(size_t index) {
  Unit& unit = units_[index];
  Gradients gradients{.tensors = {}, .accumulate = unit.parameters.front().gradient.defined()};
  for (Parameter& parameter : unit.parameters) {
    if (!parameter.gradient.defined()) {
      parameter.gradient = at::empty(
          parameter.shape,
          at::TensorOptions().device(device_).dtype(gradient_dtype(config_, unit, parameter)));
    }
    gradients.tensors.push_back(parameter.gradient);
  }
  return gradients;
}

void Sharder::release_gradients() {
  for (Parameter* parameter : parameters()) parameter->gradient.reset();
}

}  // namespace titan
