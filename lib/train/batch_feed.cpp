#include "lib/train/batch_feed.hpp"

#include <ATen/ATen.h>

#include <cstring>

namespace titan {

BatchFeed::BatchFeed(DataLoader& loader, const ops::Device& device, const Mesh& mesh, int64_t batch,
                     int64_t seq_len, ThroughputMeter* meter)
    : loader_(loader),
      device_(device),
      mesh_(mesh),
      batch_(batch),
      seq_len_(seq_len),
      meter_(meter) {}

at::Tensor BatchFeed::to_device(const std::vector<int32_t>& ids) const {
  const auto size = static_cast<int64_t>(ids.size());
  at::Tensor host =
      at::empty({size}, at::TensorOptions().dtype(at::kInt).pinned_memory(device_.is_cuda()));
  std::memcpy(host.mutable_data_ptr<int32_t>(), ids.data(), ids.size() * sizeof(int32_t));
  return host.to(device_.torch(), /*non_blocking=*/true);
}

bool BatchFeed::next(int64_t count, GlobalBatch& global) {
  global = {};
  Batch batch;
  for (int64_t i = 0; i < count; ++i) {
    const double waited = loader_.seconds_waited();
    if (!loader_.next(batch)) return false;
    const auto tokens = static_cast<int64_t>(batch.inputs.size());
    if (meter_ != nullptr) meter_->add_batch(tokens, loader_.seconds_waited() - waited);
    global.tokens += tokens;
    global.valid_tokens += batch.valid_tokens;
    global.micro_batches.push_back(
        {to_device(batch.inputs), to_device(batch.labels), batch_, seq_len_});
  }
  // On the device, since the host does not wait for other ranks in a step.
  global.all_valid_tokens = mesh_.sum_over_data(
      at::full({}, static_cast<double>(global.valid_tokens), device_.options(at::kDouble)));
  global.inverse_valid_tokens = global.all_valid_tokens.clamp_min(1).reciprocal().to(at::kFloat);
  return true;
}

}  // namespace titan
