// What the parameters of a unit take on one rank, and when: the Sharder with sizes in place of
// tensors. Shards are those of the first rank, which has the most rows.
#pragma once

#include <cstdint>
#include <vector>

#include "lib/train/memory_timeline.hpp"
#include "lib/train/plan_config.hpp"

namespace titan {

// In bytes, of one unit.
struct UnitBytes {
  // This rank's shard: for the whole run, the gradients until the optimizer step.
  int64_t masters = 0, moments = 0, compute_copies = 0, gradients = 0;
  int64_t gradients_of_unsplit = 0;  // of these, what tensor-parallel ranks hold alike (norms)
  // Float8 copies of all rows, for forward and for dgrad.
  int64_t float8_rows = 0, float8_columns = 0;
  // All rows as they are gathered, with those that make the shards equal; of these the parameters
  // that are let go of once they are quantized. Nothing where one rank has all rows.
  int64_t gathered = 0, gathered_for_float8 = 0;
  // All rows' gradients as backward writes them; nothing where one rank has all rows. Of these the
  // ones that are sent in the sums' wider dtype, as written and as sent.
  int64_t whole_gradients = 0, gradients_to_widen = 0, widened_gradients = 0;
  int64_t sent_gradients() const {
    return whole_gradients - gradients_to_widen + widened_gradients;
  }
};

// `unit`: of one tensor-parallel rank.
UnitBytes unit_bytes(const Unit& unit, const PlanConfig& config);

// Makes the Sharder's calls on a timeline.
class UnitMemory {
 public:
  UnitMemory(const std::vector<Unit>& units, const PlanConfig& config, MemoryTimeline& timeline);

  void start_gather(size_t unit);
  void weights(size_t unit, Direction direction = Direction::kForward);
  void release(size_t unit, Direction direction);
  void gradients(size_t unit);
  void shard_gradients(size_t unit);
  void start_reduce(size_t unit);
  void finish_reduce();

  // The most at a time of gathered weights and their copies, and of gradients that are not yet or
  // no longer shards.
  int64_t most_gathered() const { return most_gathered_; }
  int64_t most_in_reduction() const { return most_in_reduction_; }

 private:
  struct UnitState {
    UnitBytes size;
    bool backward_repeats_forward = false;
    bool is_gathered = false, has_gradients = false;
    int64_t gathered = 0, rows = 0, columns = 0;  // bytes in use
  };

  // Bring a part to these bytes.
  void gather(int64_t& part, int64_t bytes);
  void reduce(int64_t& part, int64_t bytes);

  std::vector<UnitState> units_;
  bool sharded_, reshard_, copies_shards_;
  MemoryTimeline& timeline_;
  int64_t gathered_ = 0, most_gathered_ = 0;
  int64_t being_written_ = 0, in_reduction_ = 0, most_in_reduction_ = 0;
};

}  // namespace titan
