// Owns the storage of the parameters and stands between it and the walk over the units: gathers a
// unit's weights before it computes, gives its gradients a place, and reduces them afterwards.
//
// Each rank stores its rows of every parameter along dp_shard: the master, the moments, and the
// rounding to the compute dtype, which is what is gathered. Gathering and reducing run on a stream
// of their own: the walk starts the next unit's gather before it computes this one, and a unit's
// reduction ends while the next one computes. One rank along dp_shard holds all rows: nothing
// moves, and weights and float8 copies stay from step to step. All methods are called from the
// training thread; they enqueue and do not wait.
#pragma once

#include <string>
#include <vector>

#include "lib/float8/float8_tensor.hpp"
#include "lib/ops/device.hpp"
#include "lib/ops/side_stream.hpp"
#include "lib/parallel/mesh.hpp"
#include "lib/parallel/parameter.hpp"
#include "lib/parallel/shard_exchange.hpp"

namespace titan {

// One run of a linear's weight, with its float8 copies where it has a recipe.
struct WeightRun : ParameterRun {
  Float8Tensor row;     // for forward
  Float8Tensor column;  // for dgrad
};

// What a module computes with: the whole parameter, or this tensor-parallel rank's block of it.
struct Weight {
  std::vector<int64_t> shape;
  at::Tensor compute;  // in the compute dtype; undefined if float8 throughout
  std::vector<WeightRun> runs;
};

// A unit's weights in the order of its parameters.
using Weights = std::vector<Weight>;

// Where a unit's backward writes. With `accumulate` it adds to what earlier micro-batches left.
struct Gradients {
  std::vector<at::Tensor> tensors;
  bool accumulate = false;
  at::Tensor operator[](size_t index) const { return tensors[index]; }
};

struct SharderConfig {
  at::ScalarType moment_dtype() const { return bfloat16_moments ? at::kBFloat16 : parameter_dtype; }

  at::ScalarType parameter_dtype = at::kFloat;  // masters, and moments unless
  bool bfloat16_moments = false;                // they are in bf16, rounded stochastically
  at::ScalarType compute_dtype = at::kBFloat16;
  // Micro-batches per optimizer step.
  int64_t micro_batches = 1;
  // Whether a unit's weights are let go of after its forward and gathered again for its backward.
  bool reshard_after_forward = true;
};

// Neither the embedding nor the head.
bool is_block(const Unit& unit);
// The dtype in which backward writes a parameter's gradient: of a block's matrix the compute dtype,
// as upstream, where each micro-batch has a place of its own; where micro-batches add up in place,
// and for all other parameters, fp32.
at::ScalarType gradient_dtype(const SharderConfig& config, const MeshShape& mesh, const Unit& unit,
                              const Parameter& parameter);
// The dtype in which the optimizer reads it: fp32, if it is the sum of several.
at::ScalarType summed_gradient_dtype(const SharderConfig& config, const MeshShape& mesh,
                                     const Unit& unit, const Parameter& parameter);
// What of a unit's gradients a rank sends another along dp_shard at a time: a block's at once.
int64_t gradient_inbox_bytes(const std::vector<Unit>& units, const SharderConfig& config,
                             const MeshShape& mesh);

// What the weights are to be used for.
enum class Direction { kForward, kBackward };

class Sharder {
 public:
  // Allocates this rank's shards of masters and compute copies, uninitialised.
  Sharder(std::vector<Unit> units, const SharderConfig& config, const ops::Device& device,
          Mesh mesh = {});

  const SharderConfig& config() const { return config_; }
  const Mesh& mesh() const { return mesh_; }
  std::vector<Unit>& units() { return units_; }
  // Every parameter of every unit, in order.
  std::vector<Parameter*> parameters();

  // Draws initial values from (seed, member name, global index) and refreshes the compute copies.
  void initialise(uint64_t seed);
  // Zeros.
  void allocate_moments();
  // How shards travel, in words: for the log. Empty if there is one.
  std::string describe_exchange() const;
  // After the masters were written by something other than the optimizer (a checkpoint).
  void refresh_compute();

  // ---- The walk: every rank makes these calls in the same order ----

  // Starts to gather a unit's weights, beside what the device computes; not before all that was
  // enqueued so far.
  void start_gather(size_t unit);
  // The gathered weights, with the float8 copies that the direction reads; gathers now what was not
  // started before.
  const Weights& weights(size_t unit, Direction direction = Direction::kForward);
  // The walk has enqueued all that reads the weights in this direction.
  void release(size_t unit, Direction direction);

  // Where backward writes. On many ranks a new place for every micro-batch; on one it is allocated
  // on the first call of a step, and accumulates on the later ones.
  Gradients gradients(size_t unit);
  // For a unit that computes with this rank's rows alone, gathering nothing: where backward writes
  // their gradients, which are already sums over dp_shard.
  Gradients shard_gradients(size_t unit);
  // Starts to sum the unit's gradients over the data ranks into this rank's shard, and lets go of
  // the rest. Along dp_replicate only with the step's last micro-batch.
  void start_reduce(size_t unit, bool last_micro_batch);
  // Makes the current stream wait for all reductions. With the last micro-batch every gradient is
  // then whole.
  void finish_reduce(bool last_micro_batch);

  // ---- The optimizer ----

  // Where the optimizer rounds a new master to bf16, if that is the compute dtype: the compute
  // copy; where products read float8 copies alone the gradient's memory, if its dtype allows; else
  // nowhere (undefined).
  at::Tensor rounding_target(const Parameter& parameter) const;
  // The optimizer has written masters and rounding targets: gradients may be lost. Brings the
  // compute copies and, where their roundings are there, the float8 copies up to date.
  void parameters_updated();
  // Float8 copies are of older values: weights() makes them again from the masters.
  void mark_copies_stale();
  // Frees all gradients: after the optimizer step.
  void release_gradients();

 private:
  // One unit's weights and gradients on their way.
  struct UnitState {
    Weights weights;
    bool gathered = false;  // or on the way
    ops::SideStream::Mark arrived;
    bool rows_ready = false, columns_ready = false;  // the float8 copies
    std::vector<at::Tensor> gradients;               // all rows, until they are reduced
    std::vector<at::Tensor> sums;  // over ranks and micro-batches, with the rows of padded_compute_
  };

  bool sharded() const { return mesh_.shape.dp_shard > 1; }
  bool reduces() const { return mesh_.shape.data_ranks() > 1; }
  int64_t shard_bytes() const;
  void allocate(Parameter& parameter, at::Tensor& padded_compute);
  // Makes float8 copies of a unit's parameters: from their rounding targets if written, else from
  // the gathered weights, else from the masters.
  void quantize(size_t unit, bool rows, bool columns, bool targets_written = false);

  std::vector<Unit> units_;
  std::vector<UnitState> states_;  // by unit
  // By parameter: its compute shard with the rows that make all shards equal. What is gathered.
  std::vector<std::vector<at::Tensor>> padded_compute_;
  SharderConfig config_;
  Mesh mesh_;
  at::Device device_;
  ShardExchange exchange_;  // along dp_shard; padded_compute_ is its memory
  ops::SideStream stream_;
  ops::SideStream::Mark reduced_;
  std::vector<Transfer> in_reduction_;  // alive until the current stream has waited for reduced_
};

}  // namespace titan
