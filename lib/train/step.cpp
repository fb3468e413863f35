#include "lib/train/step.hpp"

#include "lib/base/error.hpp"

namespace titan {

Step::Step(const Decoder& decoder, const DecoderConfig& config, Sharder& sharder,
           const ops::Device& device, bool loss_parallel)
    : decoder_(decoder),
      config_(config),
      sharder_(sharder),
      device_(device),
      tp_stream_(device),
      loss_parallel_(loss_parallel) {}

std::string Step::use_async_tensor_parallel(const std::vector<int64_t>& micro_batch_tokens) {
  const Group& tp = sharder_.mesh().tp;
  if (tp.size() == 1) return "parallelism.tensor_parallel_degree is 1";
  int64_t most = 0;  // tokens of one rank, which are a product of their own
  for (const int64_t tokens : micro_batch_tokens) {
    if (tokens % (16 * tp.size()) != 0) {
      return concat("a micro-batch has ", tokens, " tokens, no multiple of 16 for each of ",
                    tp.size(), " ranks");
    }
    most = std::max(most, tokens / tp.size());
  }
  const auto bytes = static_cast<int64_t>(c10::elementSize(sharder_.config().compute_dtype));
  std::string why_not;
  peers_ = PeerChannels::open(tp, device_, most * config_.embedding.dim * bytes, why_not);
  return why_not;
}

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
  return {device_,     micro_batch.batch, micro_batch.seq_len, rope_table_, sharder_.mesh().tp,
          &tp_stream_, peers_.get(),      loss_parallel_};
}

bool Step::embeds_by_rows(const MicroBatch& micro_batch) const {
  const int64_t rows = sharder_.units()[0].parameters[0].shape[0];
  return Embedding::exchanges_outputs(rows, micro_batch.tokens.size(0),
                                      sharder_.mesh().dp_shard.size());
}

at::Tensor Step::embed(const StepContext& context, const MicroBatch& micro_batch) {
  const Parameter& table = sharder_.units()[0].parameters[0];
  const int64_t first = table.members[0].offset[0];
  if (embeds_by_rows(micro_batch)) {
    sharder_.start_gather(decoder_.block_unit(0));
    return decoder_.embedding.forward(
        context, {table.compute, first + table.shard.first, sharder_.mesh().dp_shard},
        micro_batch.tokens);
  }
  sharder_.start_gather(0);
  sharder_.start_gather(decoder_.block_unit(0));
  at::Tensor x = decoder_.embedding.forward(context, {sharder_.weights(0)[0].compute, first},
                                            micro_batch.tokens);
  sharder_.release(0, Direction::kBackward);  // which reads no weights
  return x;
}

void Step::embed_backward(const MicroBatch& micro_batch, const at::Tensor& dx) {
  const Parameter& table = sharder_.units()[0].parameters[0];
  const int64_t first = table.members[0].offset[0];
  if (embeds_by_rows(micro_batch)) {
    const Gradients gradients = sharder_.shard_gradients(0);
    decoder_.embedding.backward({gradients[0], first + table.shard.first, sharder_.mesh().dp_shard},
                                gradients.accumulate, dx, micro_batch.tokens);
  } else {
    const Gradients gradients = sharder_.gradients(0);
    decoder_.embedding.backward({gradients[0], first}, gradients.accumulate, dx,
                                micro_batch.tokens);
  }
}

at::Tensor Step::forward(const StepContext& context, const MicroBatch& micro_batch,
                         std::vector<std::unique_ptr<Block::Saved>>* saved) {
  at::Tensor x = embed(context, micro_batch);
  for (size_t i = 0; i < decoder_.blocks.size(); ++i) {
    const size_t unit = decoder_.block_unit(i);
    sharder_.start_gather(unit + 1);
    x = decoder_.blocks[i]->forward(context, sharder_.weights(unit), std::move(x),
                                    saved == nullptr ? nullptr : &(*saved)[i]);
    sharder_.release(unit, saved == nullptr ? Direction::kBackward : Direction::kForward);
  }
  return x;
}

at::Tensor Step::forward_backward(const MicroBatch& micro_batch,
                                  const at::Tensor& inverse_valid_tokens, bool last_micro_batch) {
  StepContext context = this->context(micro_batch);
  std::vector<std::unique_ptr<Block::Saved>> saved(decoder_.blocks.size());
  at::Tensor x = forward(context, micro_batch, &saved);

  const size_t head = decoder_.head_unit();
  sharder_.start_gather(head - 1);
  auto [loss, dhead] = decoder_.head.forward_backward(
      context, sharder_.weights(head, Direction::kBackward), sharder_.gradients(head), x,
      micro_batch.labels, inverse_valid_tokens);
  x.reset();
  sharder_.release(head, Direction::kBackward);
  sharder_.start_reduce(head, last_micro_batch);
  TokenGradient dx = gather_gradient(context, std::move(dhead));
  for (size_t i = decoder_.blocks.size(); i-- > 0;) {
    const size_t unit = decoder_.block_unit(i);
    if (i > 0) sharder_.start_gather(unit - 1);
    dx = decoder_.blocks[i]->backward(context, sharder_.weights(unit, Direction::kBackward),
                                      sharder_.gradients(unit), std::move(dx), std::move(saved[i]));
    sharder_.release(unit, Direction::kBackward);
    sharder_.start_reduce(unit, last_micro_batch);
  }
  embed_backward(micro_batch, dx.all.wait());
  sharder_.start_reduce(0, last_micro_batch);
  sharder_.finish_reduce(last_micro_batch);
  return loss;
}

at::Tensor Step::evaluate(const MicroBatch& micro_batch, const at::Tensor& inverse_valid_tokens) {
  StepContext context = this->context(micro_batch);
  at::Tensor x = forward(context, micro_batch, nullptr);
  const size_t head = decoder_.head_unit();
  at::Tensor loss = decoder_.head.forward(context, sharder_.weights(head), x, micro_batch.labels,
                                          inverse_valid_tokens);
  sharder_.release(head, Direction::kBackward);
  return loss;
}

at::Tensor Step::logits(const MicroBatch& micro_batch) {
  StepContext context = this->context(micro_batch);
  at::Tensor x = forward(context, micro_batch, nullptr);
  const size_t head = decoder_.head_unit();
  at::Tensor logits = decoder_.head.logits(context, sharder_.weights(head), x);
  sharder_.release(head, Direction::kBackward);
  return logits;
}

}  // namespace titan
