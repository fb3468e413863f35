#include "lib/train/unit_memory.hpp"

#include <utility>

namespace titan {
namespace {

int64_t size_of(at::ScalarType dtype) { return static_cast<int64_t>(c10::elementSize(dtype)); }

}  // namespace

UnitBytes unit_bytes(const Unit& unit, const PlanConfig& config) {
  const SharderConfig& sharder = config.sharder;
  const int64_t shards = config.mesh.dp_shard;
  UnitBytes bytes;
  for (const Parameter& parameter : unit.parameters) {
    const int64_t rows = parameter.shape[0], width = parameter.size() / rows;
    const int64_t shard = (rows + shards - 1) / shards * width;
    const int64_t gradient = size_of(gradient_dtype(sharder, config.mesh, unit, parameter));
    const int64_t sum = size_of(summed_gradient_dtype(sharder, config.mesh, unit, parameter));
    bytes.masters += shard * size_of(sharder.parameter_dtype);
    bytes.moments += 2 * shard * size_of(sharder.moment_dtype());
    bytes.gradients += shard * sum;
    if (!parameter.split_by_tensor_parallel()) bytes.gradients_of_unsplit += shard * sum;
    if (sharder.compute_dtype != sharder.parameter_dtype &&
        (shards > 1 || !parameter.only_float8())) {
      bytes.compute_copies += shard * config.element();
    }
    for (const ParameterRun& run : parameter.runs) {
      if (!run.recipe) continue;
      bytes.float8_rows += run.rows * width;
      bytes.float8_columns += run.rows * width;
    }
    if (shards == 1) continue;
    bytes.gathered += shards * shard * config.element();
    if (parameter.only_float8()) bytes.gathered_for_float8 += shards * shard * config.element();
    bytes.whole_gradients += shards * shard * gradient;
    if (gradient == sum || config.copies_shards) continue;
    bytes.gradients_to_widen += shards * shard * gradient;
    bytes.widened_gradients += shards * shard * sum;
  }
  return bytes;
}

UnitMemory::UnitMemory(const std::vector<Unit>& units, const PlanConfig& config,
                       MemoryTimeline& timeline)
    : sharded_(config.mesh.dp_shard > 1),
      reshard_(config.sharder.reshard_after_forward),
      copies_shards_(config.copies_shards),
      timeline_(timeline) {
  for (const Unit& unit : units) {
    units_.push_back({.size = unit_bytes(unit, config),
                      .backward_repeats_forward = unit.backward_repeats_forward});
  }
}

void UnitMemory::gather(int64_t& part, int64_t bytes) {
  timeline_.alloc(bytes - part);
  gathered_ += bytes - part;
  most_gathered_ = std::max(most_gathered_, gathered_);
  part = bytes;
}

void UnitMemory::reduce(int64_t& part, int64_t bytes) {
  timeline_.alloc(bytes - part);
  part = bytes;
  most_in_reduction_ = std::max(most_in_reduction_, being_written_ + in_reduction_);
}

void UnitMemory::start_gather(size_t index) {
  UnitState& unit = units_[index];
  if (!sharded_ || std::exchange(unit.is_gathered, true)) return;
  gather(unit.gathered, unit.size.gathered);
}

void UnitMemory::weights(size_t index, Direction direction) {
  if (!sharded_) return;
  UnitState& unit = units_[index];
  start_gather(index);
  const bool forward = direction == Direction::kForward;
  if (forward || unit.backward_repeats_forward) gather(unit.rows, unit.size.float8_rows);
  if (!forward || !reshard_) gather(unit.columns, unit.size.float8_columns);
  gather(unit.gathered, unit.size.gathered - unit.size.gathered_for_float8);
}

void UnitMemory::release(size_t index, Direction direction) {
  if (!sharded_) return;
  UnitState& unit = units_[index];
  const bool stays = direction == Direction::kForward && !reshard_;
  if (!stays || !unit.backward_repeats_forward) gather(unit.rows, 0);
  if (stays) return;
  gather(unit.columns, 0);
  gather(unit.gathered, 0);
  unit.is_gathered = false;
}

void UnitMemory::gradients(size_t index) {
  if (!sharded_) return shard_gradients(index);
  reduce(being_written_, units_[index].size.whole_gradients);
}

void UnitMemory::shard_gradients(size_t index) {
  UnitState& unit = units_[index];
  if (!std::exchange(unit.has_gradients, true)) timeline_.alloc(unit.size.gradients);
}

void UnitMemory::start_reduce(size_t index) {
  if (!sharded_) return;
  UnitState& unit = units_[index];
  // Where backward has written the shard's gradients there is nothing to sum.
  const bool sums = being_written_ > 0;
  const bool first = !std::exchange(unit.has_gradients, true);
  if (first) timeline_.alloc(unit.size.gradients);
  // The reduction before this one is waited for, and its tensors are let go of.
  reduce(in_reduction_, 0);
  if (!sums) return;
  // The process group's sums of later micro-batches have a place of their own.
  const int64_t own_place = first || copies_shards_ ? 0 : unit.size.gradients;
  reduce(being_written_, being_written_ + unit.size.widened_gradients + own_place);
  reduce(being_written_, being_written_ - unit.size.gradients_to_widen);
  in_reduction_ = std::exchange(being_written_, 0);
}

void UnitMemory::finish_reduce() { reduce(in_reduction_, 0); }

}  // namespace titan
