#include "tests/unit/train/mesh_run.hpp"

namespace titan::testing {
namespace {

// The rows of a micro-batch that a data rank sees.
MicroBatch part_of(const MicroBatch& all, const Mesh& mesh) {
  const int64_t ranks = mesh.shape.data_ranks(), rows = all.batch / ranks;
  const int64_t size = rows * all.seq_len, first = mesh.data_rank() * size;
  return {all.tokens.narrow(0, first, size), all.labels.narrow(0, first, size), rows, all.seq_len};
}

at::Tensor inverse_valid_tokens(const std::vector<MicroBatch>& micro_batches,
                                at::ScalarType dtype) {
  int64_t valid = 0;
  for (const MicroBatch& all : micro_batches) valid += all.labels.ge(0).sum().item<int64_t>();
  return at::full({}, 1.0 / static_cast<double>(valid),
                  dtype == at::kDouble ? at::kDouble : at::kFloat);
}

// Of the whole mesh.
at::Tensor global_sum(const Mesh& mesh, const at::Tensor& loss) {
  at::Tensor sum = mesh.tp.rank() == 0 ? loss.clone() : at::zeros_like(loss);
  mesh.world.all_reduce_(sum);
  return sum;
}

}  // namespace

at::Tensor loss_and_gradients(MeshModel& model, const std::vector<MicroBatch>& micro_batches) {
  const at::Tensor inverse =
      inverse_valid_tokens(micro_batches, model.sharder.config().compute_dtype);
  at::Tensor loss = at::zeros_like(inverse);
  for (size_t i = 0; i < micro_batches.size(); ++i) {
    loss += model.step.forward_backward(part_of(micro_batches[i], model.mesh), inverse,
                                        i + 1 == micro_batches.size());
  }
  return global_sum(model.mesh, loss);
}

MeshOutcome run_on_mesh(const DecoderConfig& config, const SharderConfig& sharding,
                        const MeshShape& shape, const std::vector<std::vector<MicroBatch>>& steps,
                        bool async_tensor_parallel, bool loss_parallel) {
  MeshOutcome outcome;
  on_every_rank(shape.size(), [&](World& world) {
    MeshModel model(config, sharding, shape, world, loss_parallel);
    if (async_tensor_parallel) {
      const MicroBatch& all = steps.front().front();
      EXPECT_EQ(model.step.use_async_tensor_parallel({all.batch * all.seq_len}), "");
    }
    const auto master = [](const Parameter& parameter) { return parameter.master; };
    const auto gradient = [](const Parameter& parameter) { return parameter.gradient; };
    put_together(model.sharder, master, outcome.initial);
    const MicroBatch first = part_of(steps.front().front(), model.mesh);
    const at::Tensor validation = global_sum(
        model.mesh, model.step.evaluate(first, inverse_valid_tokens({steps.front().front()},
                                                                    sharding.compute_dtype)));
    std::vector<double> losses;
    for (const std::vector<MicroBatch>& micro_batches : steps) {
      const at::Tensor loss = loss_and_gradients(model, micro_batches);
      losses.push_back(loss.item<double>());
      if (&micro_batches == &steps.back()) put_together(model.sharder, gradient, outcome.gradients);
      model.optimizer.step(/*learning_rate=*/1e-2, loss);
      model.sharder.release_gradients();
    }
    put_together(model.sharder, master, outcome.updated);
    if (world.rank() == 0) {
      outcome.losses = losses;
      outcome.validation_loss = validation.item<double>();
      outcome.grad_norm = model.optimizer.grad_norm().item<double>();
    }
  });
  return outcome;
}

}  // namespace titan::testing
