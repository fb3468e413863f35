// Owns the storage of the parameters and stands between it and the walk over the units: gathers a
// unit's weights before it computes, gives its gradients a place, and reduces them afterwards.
// One rank holds everything, so gathering and reducing have nothing to move yet; the walk is
// written as it is for many ranks. All methods are called from the training thread.
#pragma once

#include <span>
#include <vector>

#include "lib/float8/float8_tensor.hpp"
#include "lib/ops/device.hpp"
#include "lib/parallel/parameter.hpp"

namespace titan {

// One run of a linear's weight, with its float8 copies where it has a recipe.
struct WeightRun : ParameterRun {
  Float8Tensor row;     // for forward
  Float8Tensor column;  // for dgrad
};

// What a module computes with.
struct Weight {
  std::vector<int64_t> shape;
  at::Tensor compute;  // the whole parameter in the compute dtype; undefined if float8 throughout
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
  // Micro-batches per optimizer step. With one, the gradient of a block's matrix is stored in the
  // compute dtype, which is what the matmul's rounding leaves of it anyway.
  int64_t micro_batches = 1;
};

// The dtype in which a parameter's gradient is stored.
at::ScalarType gradient_dtype(const SharderConfig& config, const Unit& unit,
                              const Parameter& parameter);

class Sharder {
 public:
  // Allocates masters and compute copies of every parameter, uninitialised.
  Sharder(std::vector<Unit> units, const SharderConfig& config, const ops::Device& device);

  const SharderConfig& config() const { return config_; }
  std::vector<Unit>& units() { return units_; }
  // Every parameter of every unit, in order.
  std::vector<Parameter*> parameters();

  // Draws initial values from (seed, member name, global index) and refreshes the compute copies.
  void initialise(uint64_t seed);
  // Zeros.
  void allocate_moments();
  // After the masters were written by something other than the optimizer (a checkpoint).
  void refresh_compute();

  // Quantises the float8 runs where the parameters have changed since the last call.
  const Weights& weights(size_t unit);
  // Where the optimizer rounds a new master to bf16, if that is the compute dtype: the compute
  // copy; where products read float8 copies alone the gradient's memory, if its dtype allows; else
  // nowhere (undefined).
  at::Tensor rounding_target(const Parameter& parameter) const;
  // The optimizer has written masters and rounding targets: gradients may be lost. Brings the
  // compute copies and, where their roundings are there, the float8 copies up to date.
  void parameters_updated();
  // Float8 copies are of older values: weights() makes them again from the masters.
  void parameters_changed();
  // Allocates the gradients on the first call of a step; accumulates on the later ones.
  Gradients gradients(size_t unit);
  // Frees all gradients: after the optimizer step.
  void release_gradients();

 private:
  // Makes the float8 copies of a unit's parameters, from their rounding targets if written, else
  // from the masters.
  void quantise(size_t unit, bool targets_written);

  std::vector<Unit> units_;
  std::vector<Weights> weights_;     // by unit
  std::vector<bool> weights_stale_;  // by unit: the float8 copies are of older values
  SharderConfig config_;
  at::Device device_;
};

}  // namespace titan
