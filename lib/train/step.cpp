#include "lib/train/step.hpp"

#include "lib/base/error.hpp"

namespace titan {

Step::Step(const Decoder& decoder, const DecoderConfig& config, Sharder& sharder,
           const ops::Device& device)
    : decoder_(decoder), config_(config), sharder_(sharder), device_(device) {}

StepContext Step::context(const MicroBatch& micro_batch) {
  TITAN_CHECK(micro_batch.tokens.numel() == micro_batch.batch * micro_batch.seq_len,
              "a micro-batch of ", micro_batch.batch, " x ", micro_batch.seq_len, " has ",
              micro_batch.tokens.numel(), " tokens");
  if (!rope_table_.defined() || rope_table_.size(0) < micro_batch.seq_len) {
    // Every layer of a model shares its rotary positions.
    const AttentionConfig& attention = config_.layers.front().attention;
    rope_table_ =
        ops::rope_table(micro_batch.seq_len, attention.head_dim, attention.rope, device_.torch());
  }
  return {device_, micro_batch.batch, micro_batch.seq_len, rope_table_};
}

at::Tensor Step::forward(const StepContext& context, const MicroBatch& micro_batch,
                         std::vector<std::unique_ptr<Block::Saved>>* saved) {
  at::Tensor x = decoder_.embedding.forward(sharder_.weights(0), micro_batch.tokens);
  for (size_t i = 0; i < decoder_.blocks.size(); ++i) {
    x = decoder_.blocks[i]->forward(context, sharder_.weights(decoder_.block_unit(i)), std::move(x),
                                    saved == nullptr ? nullptr : &(*saved)[i]);
  }
  return x;
}

at::Tensor Step::forward_backward(const MicroBatch& micro_batch,
                                  const at::Tensor& inverse_valid_tokens) {
  StepContext context = this->context(micro_batch);
  std::vector<std::unique_ptr<Block::Saved>> saved(decoder_.blocks.size());
  at::Tensor x = forward(context, micro_batch, &saved);

  const size_t head = decoder_.head_unit();
  auto [loss, dx] =
      decoder_.head.forward_backward(context, sharder_.weights(head), sharder_.gradients(head), x,
                                     micro_batch.labels, inverse_valid_tokens);
  x.reset();
  for (size_t i = decoder_.blocks.size(); i-- > 0;) {
    const size_t unit = decoder_.block_unit(i);
    dx = decoder_.blocks[i]->backward(context, sharder_.weights(unit), sharder_.gradients(unit),
                                      std::move(dx), std::move(saved[i]));
  }
  decoder_.embedding.backward(sharder_.gradients(0), dx, micro_batch.tokens);
  return loss;
}

at::Tensor Step::evaluate(const MicroBatch& micro_batch, const at::Tensor& inverse_valid_tokens) {
  StepContext context = this->context(micro_batch);
  at::Tensor x = forward(context, micro_batch, nullptr);
  return decoder_.head.forward(context, sharder_.weights(decoder_.head_unit()), x,
                               micro_batch.labels, inverse_valid_tokens);
}

at::Tensor Step::logits(const MicroBatch& micro_batch) {
  StepContext context = this->context(micro_batch);
  at::Tensor x = forward(context, micro_batch, nullptr);
  return decoder_.head.logits(context, sharder_.weights(decoder_.head_unit()), x);
}

}  // namespace titan
