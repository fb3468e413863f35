#include "lib/parallel/sharder.hpp"

#include <ATen/ATen.h>

#include <algorithm>

#include "lib/base/error.hpp"
#include "lib/float8/quantize.hpp"

namespace titan {
namespace {

std::vector<int64_t> with_rows(std::vector<int64_t> shape, int64_t rows) {
  shape[0] = rows;
  return shape;
}

// This rank's rows of every parameter, with those that make all shards equal.
std::vector<int64_t> padded_shape(const Parameter& parameter) {
  return with_rows(parameter.shape, parameter.shard.chunk);
}

std::vector<Unit> cut(std::vector<Unit> units, const Mesh& mesh) {
  for (Unit& unit : units) {
    for (Parameter& parameter : unit.parameters) {
      parameter.shard = shard_rows(parameter.shape[0], mesh.shape.dp_shard, mesh.dp_shard.rank());
    }
  }
  return units;
}

}  // namespace

bool is_block(const Unit& unit) { return unit.name.starts_with("layers."); }

at::ScalarType gradient_dtype(const SharderConfig& config, const MeshShape& mesh, const Unit& unit,
                              const Parameter& parameter) {
  if (config.compute_dtype == at::kDouble) return at::kDouble;
  const bool own_place = mesh.dp_shard > 1 || (mesh.data_ranks() == 1 && config.micro_batches == 1);
  return is_block(unit) && parameter.shape.size() == 2 && own_place ? config.compute_dtype
                                                                    : at::kFloat;
}

at::ScalarType summed_gradient_dtype(const SharderConfig& config, const MeshShape& mesh,
                                     const Unit& unit, const Parameter& parameter) {
  const at::ScalarType written = gradient_dtype(config, mesh, unit, parameter);
  return mesh.dp_shard > 1 && written != at::kDouble ? at::kFloat : written;
}

int64_t gradient_inbox_bytes(const std::vector<Unit>& units, const SharderConfig& config,
                             const MeshShape& mesh) {
  int64_t most = 1 << 20;  // of a model without blocks
  for (const Unit& unit : units) {
    if (!is_block(unit)) continue;
    int64_t bytes = 0;
    for (const Parameter& parameter : unit.parameters) {
      const int64_t rows = shard_rows(parameter.shape[0], mesh.dp_shard, 0).chunk;
      bytes += ShardExchange::padded_bytes(with_rows(parameter.shape, rows),
                                           gradient_dtype(config, mesh, unit, parameter));
    }
    most = std::max(most, bytes);
  }
  return most;
}

Sharder::Sharder(std::vector<Unit> units, const SharderConfig& config, const ops::Device& device,
                 Mesh mesh)
    : units_(cut(std::move(units), mesh)),
      config_(config),
      mesh_(std::move(mesh)),
      device_(device.torch()),
      exchange_(mesh_.dp_shard, mesh_.watched_alone, device, shard_bytes(),
                gradient_inbox_bytes(units_, config_, mesh_.shape)),
      stream_(device) {
  for (Unit& unit : units_) {
    padded_compute_.emplace_back();
    UnitState& state = states_.emplace_back();
    for (Parameter& parameter : unit.parameters) {
      allocate(parameter, padded_compute_.back().emplace_back());
      Weight& weight = state.weights.emplace_back(Weight{parameter.shape, {}, {}});
      for (const ParameterRun& run : parameter.runs) weight.runs.push_back({run, {}, {}});
      if (!sharded()) weight.compute = parameter.compute;
    }
  }
}

int64_t Sharder::shard_bytes() const {
  int64_t bytes = 0;
  for (const Unit& unit : units_) {
    for (const Parameter& parameter : unit.parameters) {
      bytes += ShardExchange::padded_bytes(padded_shape(parameter), config_.compute_dtype);
    }
  }
  return bytes;
}

void Sharder::allocate(Parameter& parameter, at::Tensor& padded_compute) {
  const int64_t rows = parameter.shard.count;
  if (config_.compute_dtype == config_.parameter_dtype) {
    padded_compute = exchange_.zeros(padded_shape(parameter), config_.parameter_dtype);
    parameter.master = parameter.compute = padded_compute.narrow(0, 0, rows);
    return;
  }
  parameter.master = at::empty(with_rows(parameter.shape, rows),
                               at::TensorOptions().device(device_).dtype(config_.parameter_dtype));
  if (sharded() || !parameter.only_float8()) {
    padded_compute = exchange_.zeros(padded_shape(parameter), config_.compute_dtype);
    parameter.compute = padded_compute.narrow(0, 0, rows);
  }
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
    for (const ShardPiece& piece : parameter->pieces()) {
      const ParameterMember& member = parameter->members[piece.member];
      ops::initialise_(piece.of(parameter->master), member.initializer, seed, member.name,
                       parameter->global_block(piece));
    }
  }
  refresh_compute();
}

std::string Sharder::describe_exchange() const {
  if (!sharded()) return {};
  if (!exchange_.copies()) {
    return concat("Shards travel by the process group: ", exchange_.why_not());
  }
  return device_.is_cuda() ? "Shards travel by the GPUs' copy engines"
                           : "Shards travel through memory that the ranks share";
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
  exchange_.written();
  mark_copies_stale();
}

// ---- Weights ----

void Sharder::start_gather(size_t unit) {
  UnitState& state = states_[unit];
  if (!sharded() || state.gathered) return;
  std::vector<Transfer> transfers;
  for (size_t i = 0; i < state.weights.size(); ++i) {
    const at::Tensor& shard = padded_compute_[unit][i];
    at::Tensor whole = at::empty(
        with_rows(shard.sizes().vec(), shard.size(0) * mesh_.shape.dp_shard), shard.options());
    state.weights[i].compute = whole.narrow(0, 0, state.weights[i].shape[0]);
    transfers.push_back({whole, shard});
  }
  state.arrived = stream_.run([&] { exchange_.all_gather(transfers); });
  state.gathered = true;
}

const Weights& Sharder::weights(size_t unit, Direction direction) {
  UnitState& state = states_[unit];
  start_gather(unit);
  state.arrived.wait();
  // Both copies at once where both will be used before the weights are let go of.
  const bool stay = !sharded() || !config_.reshard_after_forward;
  const bool rows =
      !sharded() || direction == Direction::kForward || units_[unit].backward_repeats_forward;
  const bool columns = stay || direction == Direction::kBackward;
  quantize(unit, rows && !state.rows_ready, columns && !state.columns_ready);
  if (sharded()) {
    for (size_t i = 0; i < state.weights.size(); ++i) {
      if (units_[unit].parameters[i].only_float8()) state.weights[i].compute.reset();
    }
  }
  return state.weights;
}

void Sharder::release(size_t unit, Direction direction) {
  UnitState& state = states_[unit];
  if (!sharded()) return;
  const bool stays = direction == Direction::kForward && !config_.reshard_after_forward;
  for (Weight& weight : state.weights) {
    if (!stays) weight.compute.reset();
    for (WeightRun& run : weight.runs) {
      if (!stays || !units_[unit].backward_repeats_forward) run.row = {};
      if (!stays) run.column = {};
    }
  }
  state.rows_ready = stays && state.rows_ready && units_[unit].backward_repeats_forward;
  state.columns_ready = stays && state.columns_ready;
  state.gathered = stays;
}

void Sharder::mark_copies_stale() {
  for (UnitState& state : states_) state.rows_ready = state.columns_ready = false;
}

void Sharder::quantize(size_t unit, bool rows, bool columns, bool targets_written) {
  if (!rows && !columns) return;
  UnitState& state = states_[unit];
  for (size_t i = 0; i < state.weights.size(); ++i) {
    Weight& weight = state.weights[i];
    const Parameter& parameter = units_[unit].parameters[i];
    // Always from the rounding to the compute dtype, as if the weight had been gathered in it.
    at::Tensor rounded = targets_written ? rounding_target(parameter) : weight.compute;
    for (WeightRun& run : weight.runs) {
      if (!run.recipe) continue;
      if (!rounded.defined()) rounded = parameter.master.to(config_.compute_dtype);
      const at::Tensor of_run = rounded.narrow(0, run.first_row, run.rows);
      const auto scales = *run.recipe == Float8Recipe::kRowwise ? float8::ColumnScales::kPerColumn
                                                                : float8::ColumnScales::kPerTensor;
      if (rows && columns) {
        float8::Float8Copies copies = float8::quantize_rows_and_columns(of_run, scales);
        run.row = std::move(copies.row);
        run.column = std::move(copies.column);
      } else if (rows) {
        run.row = float8::quantize_rows(of_run);
      } else {
        run.column = scales == float8::ColumnScales::kPerColumn
                         ? float8::quantize_columns(of_run)
                         : float8::quantize_columns_by_tensor(of_run);
      }
    }
  }
  state.rows_ready |= rows;
  state.columns_ready |= columns;
}

// ---- Gradients ----

Gradients Sharder::gradients(size_t index) {
  Unit& unit = units_[index];
  UnitState& state = states_[index];
  Gradients gradients;
  for (size_t i = 0; i < unit.parameters.size(); ++i) {
    Parameter& parameter = unit.parameters[i];
    const auto options = at::TensorOptions().device(device_).dtype(
        gradient_dtype(config_, mesh_.shape, unit, parameter));
    if (sharded()) {
      at::Tensor& whole = state.gradients.emplace_back(at::empty(
          with_rows(parameter.shape, parameter.shard.chunk * mesh_.shape.dp_shard), options));
      gradients.tensors.push_back(whole.narrow(0, 0, parameter.shape[0]));
      continue;
    }
    gradients.accumulate = parameter.gradient.defined();
    if (!parameter.gradient.defined()) parameter.gradient = at::empty(parameter.shape, options);
    gradients.tensors.push_back(parameter.gradient);
  }
  return gradients;
}

Gradients Sharder::shard_gradients(size_t index) {
  Gradients gradients;
  for (Parameter& parameter : units_[index].parameters) {
    gradients.accumulate = parameter.gradient.defined();
    if (!parameter.gradient.defined()) {
      parameter.gradient = at::empty_like(
          parameter.master, config_.compute_dtype == at::kDouble ? at::kDouble : at::kFloat);
    }
    gradients.tensors.push_back(parameter.gradient);
  }
  return gradients;
}

void Sharder::start_reduce(size_t index, bool last_micro_batch) {
  if (!reduces()) return;
  UnitState& state = states_[index];
  std::vector<at::Tensor> whole = std::exchange(state.gradients, {});
  std::vector<Parameter>& parameters = units_[index].parameters;
  const bool accumulate = !state.sums.empty();
  std::vector<Transfer> transfers;
  for (size_t i = 0; i < whole.size(); ++i) {
    Parameter& parameter = parameters[i];
    if (!accumulate) {
      const at::ScalarType dtype =
          summed_gradient_dtype(config_, mesh_.shape, units_[index], parameter);
      state.sums.push_back(at::empty(padded_shape(parameter), whole[i].options().dtype(dtype)));
      parameter.gradient = state.sums[i].narrow(0, 0, parameter.shard.count);
    }
    transfers.push_back({state.sums[i], std::move(whole[i])});
  }
  // One unit at a time is on its way; the one before had all of this one's backward for it.
  reduced_.wait();
  in_reduction_.clear();
  if (!exchange_.copies()) {  // what is sent has the dtype of the sum, which has a place of its own
    for (Transfer& transfer : transfers) {
      transfer.in = transfer.in.to(transfer.out.scalar_type());
      if (accumulate) transfer.out = at::empty_like(transfer.out);
    }
  }
  in_reduction_ = std::move(transfers);
  reduced_ = stream_.run([&] {
    exchange_.reduce_scatter(in_reduction_, accumulate && exchange_.copies());
    for (size_t i = 0; i < in_reduction_.size(); ++i) {
      if (!in_reduction_[i].out.is_same(state.sums[i])) state.sums[i].add_(in_reduction_[i].out);
    }
    if (!last_micro_batch) return;
    std::vector<at::Tensor> gradients;
    for (const Parameter& parameter : parameters) gradients.push_back(parameter.gradient);
    mesh_.dp_replicate.all_reduce_(gradients);
  });
}

void Sharder::finish_reduce(bool last_micro_batch) {
  // Afterwards the optimizer may write what others gather: on every rank the last gather of a step
  // comes before its last reduction on one stream, and this rank's ends after all have begun.
  reduced_.wait();
  in_reduction_.clear();
  if (!last_micro_batch || mesh_.shape.tp == 1) return;
  // Tensor-parallel ranks have seen different tokens of what they hold alike (the norms).
  std::vector<at::Tensor> partial;
  for (const Parameter* parameter : parameters()) {
    if (!parameter->split_by_tensor_parallel()) partial.push_back(parameter->gradient);
  }
  mesh_.tp.all_reduce_(partial);
}

// ---- The optimizer ----

at::Tensor Sharder::rounding_target(const Parameter& parameter) const {
  if (config_.compute_dtype != at::kBFloat16 || parameter.compute.is_same(parameter.master)) {
    return {};
  }
  if (parameter.compute.defined()) return parameter.compute;
  const bool fits =
      parameter.gradient.defined() && parameter.gradient.scalar_type() == at::kBFloat16;
  return fits ? parameter.gradient : at::Tensor();
}

void Sharder::parameters_updated() {
  // fp32 copies of bf16 masters are widened, not rounded: the optimizer leaves them as they were.
  if (config_.compute_dtype != at::kBFloat16) return refresh_compute();
  exchange_.written();
  mark_copies_stale();
  if (sharded()) return;  // copies are made of what is gathered
  for (size_t unit = 0; unit < units_.size(); ++unit) {
    const bool targets_written = std::ranges::all_of(
        units_[unit].parameters,
        [&](const Parameter& parameter) { return rounding_target(parameter).defined(); });
    // At once, while they are there. The other units wait until they are asked for.
    if (targets_written) quantize(unit, true, true, targets_written);
  }
}

void Sharder::release_gradients() {
  for (Parameter* parameter : parameters()) parameter->gradient.reset();
  for (UnitState& state : states_) state.sums.clear();
}

}  // namespace titan
