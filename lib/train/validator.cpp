#include "lib/train/validator.hpp"

#include <ATen/ATen.h>

#include <nlohmann/json.hpp>

#include "lib/base/error.hpp"

namespace titan {

Validator::Validator(std::unique_ptr<DataLoader> loader, const DataConfig& data, int64_t steps,
                     Step& step, const ops::Device& device, const Mesh& mesh)
    : loader_(std::move(loader)),
      start_(loader_->state()),
      feed_(*loader_, device, mesh, data.local_batch_size, data.seq_len, nullptr),
      steps_(steps),
      step_(step),
      device_(device),
      mesh_(mesh) {}

ValidationResult Validator::run_sync() {
  const double start = monotonic_seconds();
  loader_->restore(start_);
  at::Tensor sum = at::zeros({}, device_.options(at::kFloat));
  ValidationResult result;
  int64_t batches = 0;
  for (GlobalBatch batch; batches != steps_ && feed_.next(1, batch); ++batches) {
    sum += step_.evaluate(batch.micro_batches.front(), batch.inverse_valid_tokens);
    result.tokens += batch.tokens;
  }
  if (batches == 0) {
    throw InputError(
        "the validation data hold not one batch: set validation.dataset_path to more "
        "text, or lower validation.local_batch_size or validation.seq_len");
  }
  result.loss = mesh_.sum_over_data(sum).item<double>() / static_cast<double>(batches);
  result.tokens *= mesh_.shape.data_ranks();
  result.seconds = monotonic_seconds() - start;
  return result;
}

}  // namespace titan
