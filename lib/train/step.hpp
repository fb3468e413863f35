// One micro-batch through the model: the walk over the units forward, then in reverse backward.
#pragma once

#include "lib/model/decoder.hpp"

namespace titan {

// On the compute device.
struct MicroBatch {
  at::Tensor tokens;  // int32 [batch * seq_len]
  at::Tensor labels;  // int32 [batch * seq_len], -100 where a position does not count
  int64_t batch = 0;
  int64_t seq_len = 0;
};

class Step {
 public:
  // All by reference: they outlive the step.
  // Without loss_parallel tensor-parallel ranks compute the loss from whole logits.
  Step(const Decoder& decoder, const DecoderConfig& config, Sharder& sharder,
       const ops::Device& device, bool loss_parallel = true);

  // From now on tokens travel between tensor-parallel ranks beside the products that read or make
  // them. micro_batch_tokens: of every kind of micro-batch (training, validation). Collective.
  // Returns why it cannot be, or "".
  std::string use_async_tensor_parallel(const std::vector<int64_t>& micro_batch_tokens);

  // Leaves gradients with the sharder (adding to those of earlier micro-batches; with the step's
  // last one they are summed over all ranks) and returns the loss, a scalar on the device: the sum
  // over this rank's micro-batch times inverse_valid_tokens. Enqueues only; never waits for the
  // device.
  at::Tensor forward_backward(const MicroBatch& micro_batch, const at::Tensor& inverse_valid_tokens,
                              bool last_micro_batch = true);

  // The loss alone, keeping nothing.
  at::Tensor evaluate(const MicroBatch& micro_batch, const at::Tensor& inverse_valid_tokens);

  // [T, V] logits.
  at::Tensor logits(const MicroBatch& micro_batch);

 private:
  StepContext context(const MicroBatch& micro_batch);
  // Whether the embedding works on this rank's rows of the table, not on a gathered one.
  bool embeds_by_rows(const MicroBatch& micro_batch) const;
  at::Tensor embed(const StepContext& context, const MicroBatch& micro_batch);
  void embed_backward(const MicroBatch& micro_batch, const at::Tensor& dx);
  // Through the embedding and the blocks; ends with the gather of the head on its way.
  at::Tensor forward(const StepContext& context, const MicroBatch& micro_batch,
                     std::vector<std::unique_ptr<Block::Saved>>* saved);

  const Decoder& decoder_;
  const DecoderConfig& config_;
  Sharder& sharder_;
  const ops::Device& device_;
  ops::SideStream tp_stream_;
  std::unique_ptr<PeerChannels> peers_;
  bool loss_parallel_;
  at::Tensor rope_table_;
};

}  // namespace titan
