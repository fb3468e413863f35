// The plan against real tensors: what it says of each part is what the parts then take.
#include "lib/train/memory_plan.hpp"

#include "lib/model/converter.hpp"
#include "lib/optim/optimizer.hpp"
#include "tests/unit/train/allocation_watch.hpp"
#include "tests/unit/train/train_testing.hpp"

namespace titan {
namespace {

constexpr int64_t kBatch = 2, kSeqLen = 40;

struct Case {
  const char* name;
  SharderConfig sharding;
  std::vector<Recompute> recompute;
  std::optional<Float8Recipe> float8 = {};
};

std::vector<Case> cases() {
  return {
      {"fp32", in_fp32(), {kNothing, kNothing}},
      {"fp32, gate and up repeated", in_fp32(), {kGateUp, kGateUp}},
      {"fp32, blocks repeated", in_fp32(), {kBlock, kBlock}},
      {"bf16", in_bf16(), {kNothing, kNothing}},
      {"bf16, mixed policy", in_bf16(), {kNothing, kBlock, kGateUp}},
      {"bf16, accumulated", in_bf16(2), {kNothing, kBlock}},
      {"bf16, moments too", with_bf16_moments(in_bf16()), {kNothing, kGateUp}},
      {"float8", in_bf16(), {kNothing, kGateUp, kBlock}, Float8Recipe::kRowwise},
      {"float8, wgrad in bf16", in_bf16(), {kNothing, kBlock}, Float8Recipe::kRowwiseWithGwHp},
  };
}

DecoderConfig model_of(const Case& each) {
  DecoderConfig model = small_model(each.recompute);
  if (each.float8) {
    float8_linear_converter({.recipe = *each.float8,
                             .filter_fqns = {"layers.0.attention.wk"},
                             .emulate = true,
                             .tokens = kBatch * kSeqLen})
        ->convert(model);
  }
  return model;
}

MemoryPlan plan_of(const DecoderConfig& model, const SharderConfig& sharding) {
  return plan_memory(model, {.batch = kBatch, .seq_len = kSeqLen, .sharder = sharding});
}

int64_t bytes(const at::Tensor& tensor) {
  return tensor.defined() ? static_cast<int64_t>(tensor.nbytes()) : 0;
}

TEST(MemoryPlan, ParametersTakeWhatThePlanSays) {
  for (const Case& each : cases()) {
    SCOPED_TRACE(each.name);
    SmallModel model(model_of(each), each.sharding);
    Optimizer optimizer({}, model.sharder, model.device);
    for (int64_t i = 0; i < each.sharding.micro_batches; ++i) {
      model.step.forward_backward(random_batch(kBatch, kSeqLen), scalar(0.01));
    }
    int64_t masters = 0, copies = 0, float8_copies = 0, moments = 0, gradients = 0;
    for (const Parameter* parameter : model.sharder.parameters()) {
      masters += bytes(parameter->master);
      moments += bytes(parameter->exp_avg) + bytes(parameter->exp_avg_sq);
      gradients += bytes(parameter->gradient);
      if (!parameter->compute.is_same(parameter->master)) copies += bytes(parameter->compute);
    }
    for (size_t unit = 0; unit < model.sharder.units().size(); ++unit) {
      for (const Weight& weight : model.sharder.weights(unit)) {
        for (const WeightRun& run : weight.runs) {
          float8_copies += bytes(run.row.values) + bytes(run.column.values);
        }
      }
    }
    const MemoryPlan plan = plan_of(model.config, each.sharding);
    EXPECT_EQ(plan.masters, masters);
    EXPECT_EQ(plan.compute_copies, copies);
    EXPECT_EQ(plan.float8_copies, float8_copies);
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
  for (const Case& each : cases()) {
    SCOPED_TRACE(each.name);
    SmallModel model(model_of(each), each.sharding);
    model.step.logits(random_batch(kBatch, kSeqLen));  // the weights' float8 copies are made
    AllocationWatch watch;
    at::Tensor x = at::randn({kBatch * kSeqLen, 256}).to(each.sharding.compute_dtype);
    const auto saved = forward(model, x);
    int64_t sum = 0;
    for (const auto& block : saved) sum += block->bytes();

    EXPECT_EQ(sum, plan_of(model.config, each.sharding).saved_activations);
    // What the blocks say of themselves is what the allocator holds, beside the last output.
    EXPECT_EQ(watch.in_use(), sum + bytes(x));
  }
}

TEST(MemoryPlan, AStepLeavesTheGradientsAlone) {
  for (const Case& each : cases()) {
    SCOPED_TRACE(each.name);
    SmallModel model(model_of(each), each.sharding);
    const MicroBatch batch = random_batch(kBatch, kSeqLen);
    const at::Tensor inverse = scalar(0.01);
    model.step.logits(batch);  // the rotary table and the weights' float8 copies are made
    AllocationWatch watch;
    at::Tensor loss;
    for (int64_t i = 0; i < each.sharding.micro_batches; ++i) {
      loss = model.step.forward_backward(batch, inverse);
    }
    const MemoryPlan plan = plan_of(model.config, each.sharding);
    EXPECT_EQ(watch.in_use(), plan.gradients + bytes(loss));
    // So does the timeline: it frees whatever it allocates but the gradients.
    const int64_t tokens = each.sharding.micro_batches * 2 * kBatch * kSeqLen * 4;
    EXPECT_EQ(plan.timeline.back().name, "optimizer");
    EXPECT_EQ(plan.timeline.back().bytes, plan.masters + plan.compute_copies + plan.float8_copies +
                                              plan.moments + plan.workspace + tokens +
                                              plan.gradients);
  }
}

TEST(MemoryPlan, TimelineWalksAsTheStepDoes) {
  std::vector<std::string> names;
  for (const MemoryMoment& moment :
       plan_of(small_model({kNothing, kNothing}), in_fp32()).timeline) {
    names.push_back(moment.name);
  }
  EXPECT_THAT(
      names, testing::ElementsAre("forward", "head", "backward of layers.1", "backward of layers.0",
                                  "backward of tok_embeddings", "optimizer"));
}

TEST(MemoryPlan, RecomputingTradesMemoryForTime) {
  const DecoderConfig nothing = small_model({kNothing, kNothing}),
                      gate_up = small_model({kGateUp, kGateUp}),
                      block = small_model({kBlock, kBlock});
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

TEST(MemoryPlan, AnOutputInFloat8HasCopiesBesideTheLogits) {
  constexpr int64_t kWords = 4096, kWidth = 256, kTokens = 128;
  const auto head_moment = [](bool float8) {
    DecoderConfig model = registry("llama3", "debugmodel", {.n_layers = 1, .vocab_size = kWords});
    if (float8) {
      float8_linear_converter({.filter_fqns = {"layers"}, .emulate = true, .tokens = kTokens})
          ->convert(model);
    }
    const MemoryPlan plan =
        plan_memory(model, {.batch = 1, .seq_len = kTokens, .sharder = in_bf16()});
    EXPECT_EQ(plan.timeline[1].name, "head");
    return plan.timeline[1].bytes - plan.compute_copies - plan.float8_copies;
  };
  // Both copies of the input with its column amax, both of the logits' gradient.
  EXPECT_EQ(head_moment(true) - head_moment(false),
            2 * kTokens * kWidth + kWidth * 4 + 2 * kTokens * kWords);
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
