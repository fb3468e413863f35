// The plan against real tensors: what it says of each part is what the parts then take.
#include "lib/train/memory_plan.hpp"

#include "lib/base/error.hpp"
#include "lib/optim/optimizer.hpp"
#include "tests/unit/train/allocation_watch.hpp"
#include "tests/unit/train/train_testing.hpp"

namespace titan {
namespace {

constexpr int64_t kBatch = 2, kSeqLen = 40;

const std::vector<std::vector<Recompute>> kPolicies = {
    {Recompute::kNothing, Recompute::kNothing},
    {Recompute::kGateUp, Recompute::kGateUp},
    {Recompute::kBlock, Recompute::kBlock},
    {Recompute::kNothing, Recompute::kBlock, Recompute::kGateUp},
};

MemoryPlan plan_of(const DecoderConfig& model, const SharderConfig& sharding) {
  return plan_memory(model, {.batch = kBatch, .seq_len = kSeqLen, .sharder = sharding});
}

int64_t bytes(const at::Tensor& tensor) { return static_cast<int64_t>(tensor.nbytes()); }

std::string name(const SharderConfig& sharding, const std::vector<Recompute>& policy) {
  std::string text =
      concat(sharding.compute_dtype, ", ", sharding.micro_batches, " micro-batches,");
  for (Recompute recompute : policy) text += concat(" ", static_cast<int>(recompute));
  return text;
}

TEST(MemoryPlan, ParametersTakeWhatThePlanSays) {
  for (const SharderConfig& sharding : {in_fp32(1), in_fp32(2), in_bf16(1), in_bf16(2)}) {
    SCOPED_TRACE(name(sharding, kPolicies[0]));
    SmallModel model(small_model(kPolicies[0]), sharding);
    Optimizer optimizer({}, model.sharder, model.device);
    for (int64_t i = 0; i < sharding.micro_batches; ++i) {
      model.step.forward_backward(random_batch(kBatch, kSeqLen), scalar(0.01));
    }
    int64_t masters = 0, copies = 0, moments = 0, gradients = 0;
    for (const Parameter* parameter : model.sharder.parameters()) {
      masters += bytes(parameter->master);
      moments += bytes(parameter->exp_avg) + bytes(parameter->exp_avg_sq);
      gradients += bytes(parameter->gradient);
      if (!parameter->compute.is_alias_of(parameter->master)) copies += bytes(parameter->compute);
    }
    const MemoryPlan plan = plan_of(model.config, sharding);
    EXPECT_EQ(plan.masters, masters);
    EXPECT_EQ(plan.compute_copies, copies);
    EXPECT_EQ(plan.moments, moments);
    EXPECT_EQ(plan.gradients, gradients);
  }
}

// Runs the blocks forward and returns what they keep.
std::vector<std::unique_ptr<Block::Saved>> forward(SmallModel& model, at::Tensor& x) {
  const StepContext context{
      model.device, kBatch, kSeqLen,
      ops::rope_table(kSeqLen, 16, model.config.layers[0].attention.rope, at::kCPU)};
  std::vector<std::unique_ptr<Block::Saved>> saved(model.decoder.blocks.size());
  for (size_t i = 0; i < saved.size(); ++i) {
    x = model.decoder.blocks[i]->forward(context, model.sharder.weights(1 + i), std::move(x),
                                         &saved[i]);
  }
  return saved;
}

TEST(MemoryPlan, BlocksKeepWhatThePlanSays) {
  for (const SharderConfig& sharding : {in_fp32(), in_bf16()}) {
    for (const std::vector<Recompute>& policy : kPolicies) {
      SCOPED_TRACE(name(sharding, policy));
      SmallModel model(small_model(policy), sharding);
      AllocationWatch watch;
      at::Tensor x = at::randn({kBatch * kSeqLen, 256}).to(sharding.compute_dtype);
      const auto saved = forward(model, x);
      int64_t sum = 0;
      for (const auto& block : saved) sum += block->bytes();

      const MemoryPlan plan = plan_of(model.config, sharding);
      EXPECT_EQ(sum, plan.saved_activations);
      // What the blocks say of themselves is what the allocator holds, beside the last output.
      EXPECT_EQ(watch.in_use(), sum + bytes(x));
    }
  }
}

TEST(MemoryPlan, AStepLeavesTheGradientsAlone) {
  for (const SharderConfig& sharding : {in_fp32(1), in_bf16(1), in_bf16(2)}) {
    for (const std::vector<Recompute>& policy : kPolicies) {
      SCOPED_TRACE(name(sharding, policy));
      SmallModel model(small_model(policy), sharding);
      model.step.logits(random_batch(1, kSeqLen));  // makes the rotary table
      const MicroBatch batch = random_batch(kBatch, kSeqLen);
      const at::Tensor inverse = scalar(0.01);
      AllocationWatch watch;
      at::Tensor loss;
      for (int64_t i = 0; i < sharding.micro_batches; ++i) {
        loss = model.step.forward_backward(batch, inverse);
      }
      const MemoryPlan plan = plan_of(model.config, sharding);
      EXPECT_EQ(watch.in_use(), plan.gradients + bytes(loss));
      const int64_t tokens = sharding.micro_batches * 2 * kBatch * kSeqLen * 4;
      const int64_t resident = plan.masters + plan.compute_copies + plan.moments + plan.workspace;
      // The timeline frees whatever it allocates but the gradients.
      EXPECT_EQ(plan.timeline.back().name, "optimizer");
      EXPECT_EQ(plan.timeline.back().bytes, resident + tokens + plan.gradients);
    }
  }
}

TEST(MemoryPlan, TimelineWalksAsTheStepDoes) {
  std::vector<std::string> names;
  for (const MemoryMoment& moment : plan_of(small_model(kPolicies[0]), in_fp32()).timeline) {
    names.push_back(moment.name);
  }
  EXPECT_THAT(
      names, testing::ElementsAre("forward", "head", "backward of layers.1", "backward of layers.0",
                                  "backward of tok_embeddings", "optimizer"));
}

TEST(MemoryPlan, RecomputingTradesMemoryForTime) {
  const DecoderConfig nothing = small_model(kPolicies[0]), gate_up = small_model(kPolicies[1]),
                      block = small_model(kPolicies[2]);
  const MemoryPlan plans[] = {plan_of(nothing, in_bf16()), plan_of(gate_up, in_bf16()),
                              plan_of(block, in_bf16())};
  const int64_t tokens = kBatch * kSeqLen, layers = 2, hidden = 768, width = 256, heads = 16;
  EXPECT_EQ(plans[0].saved_activations - plans[1].saved_activations,
            layers * tokens * 2 * hidden * 2);
  // mid, q, k, v and attention's output in bf16; two norms and the softmax in fp32.
  EXPECT_EQ(plans[1].saved_activations - plans[2].saved_activations,
            layers * tokens * (5 * width * 2 + 2 * 4 + heads * 4));
  EXPECT_GE(plans[0].peak.bytes, plans[1].peak.bytes);
  EXPECT_GE(plans[1].peak.bytes, plans[2].peak.bytes);
}

TEST(MemoryPlan, AccumulationHoldsGradientsThroughTheSecondMicroBatch) {
  const DecoderConfig model = registry("llama3", "8B", {.n_layers = 4});
  const auto plan = [&](int64_t micro_batches) {
    return plan_memory(model, {.batch = 1, .seq_len = 2048, .sharder = in_bf16(micro_batches)});
  };
  const MemoryPlan two = plan(2), eight = plan(8);
  // Every activation at once with every gradient: more than any moment of the first micro-batch.
  EXPECT_GE(two.peak.bytes,
            two.masters + two.compute_copies + two.moments + two.gradients + two.saved_activations);
  EXPECT_THAT(two.peak.name, testing::EndsWith(", second micro-batch"));
  EXPECT_EQ(eight.peak.bytes - two.peak.bytes, 6 * 2 * 2048 * 4);  // tokens and labels
}

}  // namespace
}  // namespace titan
