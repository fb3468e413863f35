// Trains a small model on a mesh whose ranks are threads, and puts what the ranks hold together.
#pragma once

#include <map>
#include <mutex>

#include "lib/optim/optimizer.hpp"
#include "tests/unit/parallel/rank_threads.hpp"
#include "tests/unit/train/train_testing.hpp"

namespace titan::testing {

// Whole tensors by name.
using NamedTensors = std::map<std::string, at::Tensor>;

// Writes the parts that a rank holds of `shard_of(parameter)` into the whole tensors. A part that
// is there already (another replica's) must be equal.
template <class ShardOf>
void put_together(Sharder& sharder, ShardOf shard_of, NamedTensors& whole) {
  static std::mutex mutex;
  const std::lock_guard lock(mutex);
  for (const Parameter* parameter : sharder.parameters()) {
    for (const ShardPiece& piece : parameter->pieces()) {
      const ParameterMember& member = parameter->members[piece.member];
      const at::Tensor part = piece.of(shard_of(*parameter));
      at::Tensor& tensor = whole[member.name];
      if (!tensor.defined()) tensor = at::full(member.global_shape, NAN, part.options());
      at::Tensor place = tensor;
      for (size_t i = 0; i < piece.shape.size(); ++i) {
        place = place.narrow(static_cast<int64_t>(i), piece.offset[i], piece.shape[i]);
      }
      const bool there = !place.isnan().all().item<bool>();
      if (there) {
        EXPECT_TRUE(place.equal(part)) << "replicas differ in " << member.name;
      } else {
        place.copy_(part);
      }
    }
  }
}

// One rank's model.
struct MeshModel {
  MeshModel(const DecoderConfig& model, const SharderConfig& sharding, const MeshShape& shape,
            World& world, bool loss_parallel = true)
      : mesh(make_mesh(shape, world)),
        config(model),
        decoder(build(config)),
        sharder(declare_units(config, {mesh.tp.rank(), mesh.tp.size()}), sharding, device, mesh),
        optimizer({}, sharder, device),
        step(decoder, config, sharder, device, loss_parallel) {
    sharder.initialise(/*seed=*/5);
  }

  ops::Device device = ops::Device::cpu();
  Mesh mesh;
  DecoderConfig config;
  Decoder decoder;
  Sharder sharder;
  Optimizer optimizer;
  Step step;
};

// Forward and backward of one step, of whose rows this rank takes its part. Returns the loss of the
// whole mesh.
at::Tensor loss_and_gradients(MeshModel& model, const std::vector<MicroBatch>& micro_batches);

struct MeshOutcome {
  std::vector<double> losses;  // of every step, over the whole mesh
  double validation_loss = 0;  // before the first step
  double grad_norm = 0;        // of the last step
  NamedTensors initial, gradients, updated;
};

// Steps over `batches`: one inner vector per step, of the micro-batches of all ranks together,
// whose rows the data ranks divide among them. The gradients are those of the last step.
MeshOutcome run_on_mesh(const DecoderConfig& config, const SharderConfig& sharding,
                        const MeshShape& shape, const std::vector<std::vector<MicroBatch>>& steps,
                        bool async_tensor_parallel = false, bool loss_parallel = true);

}  // namespace titan::testing
