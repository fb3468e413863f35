// The plan of a mesh against what ranks hold and send, and against numbers worked out by hand.
#include <ATen/record_function.h>

#include "lib/model/converter.hpp"
#include "lib/train/memory_plan.hpp"
#include "lib/train/traffic_plan.hpp"
#include "lib/train/unit_memory.hpp"
#include "tests/unit/train/allocation_watch.hpp"
#include "tests/unit/train/mesh_run.hpp"

namespace titan {
namespace {

using testing::MeshModel;
using testing::on_every_rank;

constexpr int64_t kBatch = 2, kSeqLen = 40;

constexpr auto kNothing = Recompute::kNothing;
constexpr auto kGateUp = Recompute::kGateUp;
constexpr auto kBlock = Recompute::kBlock;

struct Case {
  const char* name;
  MeshShape mesh;
  SharderConfig sharding;
  std::vector<Recompute> recompute = {kNothing, kBlock};
  std::optional<Float8Recipe> float8 = {};
  int64_t vocab = 100;
};

SharderConfig never(SharderConfig sharding) {
  sharding.reshard_after_forward = false;
  return sharding;
}

std::vector<Case> cases() {
  constexpr auto kRowwise = Float8Recipe::kRowwise, kGwHp = Float8Recipe::kRowwiseWithGwHp;
  return {
      {"fsdp, fp32", {1, 2, 1}, in_fp32()},
      {"fsdp, uneven rows", {1, 3, 1}, in_bf16(), {kNothing, kGateUp, kBlock}},
      {"fsdp, accumulated", {1, 2, 1}, in_bf16(2)},
      {"fsdp, weights stay", {1, 2, 1}, never(in_bf16()), {kNothing, kGateUp, kBlock}},
      {"fsdp, float8", {1, 2, 1}, in_bf16(), {kNothing, kGateUp, kBlock}, kRowwise},
      {"fsdp, float8, weights stay", {1, 2, 1}, never(in_bf16()), {kGateUp, kBlock}, kRowwise},
      {"fsdp, embedding by rows", {1, 2, 1}, in_bf16(2), {kNothing, kBlock}, {}, 4096},
      {"ddp", {2, 1, 1}, in_bf16()},
      {"ddp, accumulated", {2, 1, 1}, in_bf16(2)},
      {"hsdp", {2, 2, 1}, in_bf16(2)},
      {"tp", {1, 1, 2}, in_bf16(), {kNothing, kGateUp, kBlock}},
      {"tp, accumulated", {1, 1, 2}, in_bf16(2)},
      {"tp, float8", {1, 1, 2}, in_bf16(), {kNothing, kGateUp, kBlock}, kRowwise},
      {"tp, float8, wgrad in bf16", {1, 1, 2}, in_bf16(), {kNothing, kBlock}, kGwHp},
      {"fsdp and tp", {1, 2, 2}, in_bf16(), {kNothing, kGateUp, kBlock}, kRowwise},
  };
}

DecoderConfig model_of(const Case& each) {
  DecoderConfig model = registry("llama3", "debugmodel",
                                 {.n_layers = static_cast<int64_t>(each.recompute.size()),
                                  .vocab_size = each.vocab,
                                  .seq_len = 64});
  for (size_t i = 0; i < each.recompute.size(); ++i) model.layers[i].recompute = each.recompute[i];
  if (each.float8) {
    float8_linear_converter({.recipe = *each.float8,
                             .filter_fqns = {"layers.0.attention.wk"},
                             .emulate = true,
                             .tokens = kBatch * kSeqLen})
        ->convert(model);
  }
  return model;
}

PlanConfig config_of(const Case& each) {
  return {.batch = kBatch, .seq_len = kSeqLen, .sharder = each.sharding, .mesh = each.mesh};
}

int64_t bytes(const at::Tensor& tensor) {
  return tensor.defined() ? static_cast<int64_t>(tensor.nbytes()) : 0;
}

// Runs `test(model, case)` on rank 0 and `others` on the rest, for every case.
template <class Test>
void on_rank_0(Test test) {
  for (const Case& each : cases()) {
    SCOPED_TRACE(each.name);
    on_every_rank(each.mesh.size(), [&](World& world) {
      MeshModel model(model_of(each), each.sharding, each.mesh, world);
      test(model, each, world.rank() == 0);
    });
  }
}

// A step's micro-batches; the last one's loss.
at::Tensor forward_backward(MeshModel& model, const Case& each) {
  at::Tensor loss;
  for (int64_t i = 0; i < each.sharding.micro_batches; ++i) {
    MicroBatch batch = random_batch(kBatch, kSeqLen);
    loss = model.step.forward_backward(batch, scalar(0.01), i + 1 == each.sharding.micro_batches);
  }
  return loss;
}

TEST(MeshPlan, ParametersTakeWhatThePlanSays) {
  on_rank_0([](MeshModel& model, const Case& each, bool check) {
    forward_backward(model, each);
    if (!check) return;
    int64_t masters = 0, moments = 0, gradients = 0, copies = 0;
    for (const Parameter* parameter : model.sharder.parameters()) {
      masters += bytes(parameter->master);
      moments += bytes(parameter->exp_avg) + bytes(parameter->exp_avg_sq);
      gradients += bytes(parameter->gradient);
      if (!parameter->compute.is_same(parameter->master)) copies += bytes(parameter->compute);
    }
    const MemoryPlan plan = plan_memory(model.config, config_of(each));
    EXPECT_EQ(plan.masters, masters);
    EXPECT_EQ(plan.moments, moments);
    EXPECT_EQ(plan.gradients, gradients);
    EXPECT_EQ(plan.compute_copies, each.sharding.compute_dtype == at::kFloat ? 0 : copies);
  });
}

TEST(MeshPlan, AStepLeavesTheGradientsAlone) {
  on_rank_0([](MeshModel& model, const Case& each, bool check) {
    forward_backward(model, each);  // the rotary table and lasting float8 copies are made
    model.sharder.release_gradients();
    AllocationWatch watch;
    const at::Tensor loss = forward_backward(model, each);
    if (!check) return;
    const MemoryPlan plan = plan_memory(model.config, config_of(each));
    EXPECT_EQ(watch.in_use(), plan.gradients + bytes(loss));
    EXPECT_EQ(plan.timeline.back().name, "optimizer");
    const int64_t tokens = each.sharding.micro_batches * 2 * kBatch * kSeqLen * 4;
    EXPECT_EQ(plan.timeline.back().bytes, plan.masters + plan.compute_copies + plan.float8_copies +
                                              plan.moments + plan.workspace + tokens +
                                              plan.gradients);
  });
}

TEST(MeshPlan, BlocksKeepWhatThePlanSays) {
  on_rank_0([](MeshModel& model, const Case& each, bool check) {
    const StepContext context{
        model.device, kBatch, kSeqLen,
        ops::rope_table(kSeqLen, 16, model.config.layers[0].attention.rope, at::kCPU),
        model.mesh.tp};
    at::Tensor x =
        at::randn({kBatch * kSeqLen / each.mesh.tp, 256}).to(each.sharding.compute_dtype);
    int64_t sum = 0;
    for (size_t i = 0; i < model.decoder.blocks.size(); ++i) {
      std::unique_ptr<Block::Saved> saved;
      x = model.decoder.blocks[i]->forward(context, model.sharder.weights(1 + i), std::move(x),
                                           &saved);
      sum += saved->bytes();
    }
    if (check) EXPECT_EQ(sum, plan_memory(model.config, config_of(each)).saved_activations);
  });
}

// ---- The Sharder's calls one by one ----

// Bytes of the scales of a unit's float8 copies, which the plan leaves out.
int64_t scales(const Weights& weights) {
  int64_t sum = 0;
  for (const Weight& weight : weights) {
    for (const WeightRun& run : weight.runs)
      sum += bytes(run.row.inverse_scales) + bytes(run.column.inverse_scales);
  }
  return sum;
}

TEST(MeshPlan, UnitMemoryFollowsTheSharder) {
  on_rank_0([](MeshModel& model, const Case& each, bool check) {
    if (each.mesh.dp_shard == 1) return;  // nothing comes and goes but the gradients: see above
    Sharder& sharder = model.sharder;
    MemoryTimeline timeline(0);
    UnitMemory plan(declare_units(model.config, {.rank = 0, .size = each.mesh.tp}), config_of(each),
                    timeline);
    const size_t units = sharder.units().size(), head = units - 1;
    std::vector<const Weights*> used(units);
    AllocationWatch watch;
    const auto compare = [&](const char* call, size_t unit) {
      int64_t beside = 0;
      for (const Weights* weights : used) beside += weights == nullptr ? 0 : scales(*weights);
      if (check) EXPECT_EQ(timeline.in_use(), watch.in_use() - beside) << call << " " << unit;
    };
    const auto start_gather = [&](size_t unit) {
      sharder.start_gather(unit);
      plan.start_gather(unit);
      compare("start_gather", unit);
    };
    const auto use = [&](size_t unit, Direction direction) {
      used[unit] = &sharder.weights(unit, direction);
      plan.weights(unit, direction);
      compare("weights", unit);
    };
    const auto release = [&](size_t unit, Direction direction) {
      sharder.release(unit, direction);
      plan.release(unit, direction);
      compare("release", unit);
    };
    for (int64_t i = 0; i < each.sharding.micro_batches; ++i) {
      const bool last = i + 1 == each.sharding.micro_batches;
      start_gather(0);
      for (size_t unit = 0; unit < head; ++unit) {
        start_gather(unit + 1);
        use(unit, Direction::kForward);
        release(unit, Direction::kForward);
      }
      for (size_t unit = units; unit-- > 0;) {
        if (unit > 0) start_gather(unit - 1);
        sharder.gradients(unit);
        plan.gradients(unit);
        compare("gradients", unit);
        use(unit, Direction::kBackward);
        release(unit, Direction::kBackward);
        sharder.start_reduce(unit, last);
        plan.start_reduce(unit);
        compare("start_reduce", unit);
      }
      sharder.finish_reduce(last);
      plan.finish_reduce();
      compare("finish_reduce", 0);
    }
  });
}

// ---- Bytes sent ----

// Of one axis of two ranks, by gloo's collectives on this thread: the bytes of their inputs. gloo
// runs a reduce-scatter as an all-reduce.
class GlooWatch {
 public:
  GlooWatch() {
    current() = this;
    handle_ = at::addThreadLocalCallback(at::RecordFunctionCallback(&GlooWatch::before)
                                             .needsInputs(true)
                                             .scopes({at::RecordScope::USER_SCOPE}));
  }
  ~GlooWatch() { at::removeCallback(handle_); }

  int64_t gathered = 0, reduced = 0;

 private:
  static GlooWatch*& current() {
    static thread_local GlooWatch* watch = nullptr;
    return watch;
  }
  static std::unique_ptr<at::ObserverContext> before(const at::RecordFunction& function) {
    int64_t sum = 0;
    for (const c10::IValue& input : function.inputs()) {
      if (input.isTensor()) sum += bytes(input.toTensor());
    }
    if (std::string(function.name()) == "gloo:all_gather") current()->gathered += sum;
    if (std::string(function.name()) == "gloo:all_reduce") current()->reduced += sum;
    return nullptr;
  }
  at::CallbackHandle handle_;
};

TEST(MeshPlan, RanksSendWhatThePlanSays) {
  on_rank_0([](MeshModel& model, const Case& each, bool check) {
    if (each.mesh.size() != 2) return;  // with more axes than one gloo does not tell them apart
    GlooWatch watch;
    forward_backward(model, each);
    if (!check) return;
    // Of two ranks each sends its input of a gather, half of that of a reduce-scatter, and as much
    // as it puts into an all-reduce.
    int64_t gathered = 0, reduced = 0;
    for (const Traffic& traffic : plan_traffic(model.config, config_of(each))) {
      if (traffic.collective == "all_gather") gathered += traffic.bytes;
      if (traffic.collective == "reduce_scatter") reduced += 2 * traffic.bytes;
      if (traffic.collective == "all_reduce") reduced += traffic.bytes;
    }
    EXPECT_EQ(watch.gathered, gathered);
    EXPECT_EQ(watch.reduced, reduced);
  });
}

int64_t sent(const std::vector<Traffic>& traffic, const std::string& axis,
             const std::string& collective, const std::string& what) {
  int64_t sum = 0;
  for (const Traffic& each : traffic) {
    if (each.axis == axis && each.collective == collective && each.what == what) sum += each.bytes;
  }
  return sum;
}

TEST(MeshPlan, TrafficOf8B) {
  const DecoderConfig model = registry("llama3", "8B", {});
  PlanConfig config{.batch = 1, .seq_len = 8192, .sharder = in_bf16(), .mesh = {2, 32, 1}};
  const int64_t embedding = 128256LL * 4096, head = embedding + 4096, all = 8'030'261'248;
  const int64_t blocks = all - embedding - head;
  // 32 x 8192 tokens are too many for the embedding to send its outputs instead of its table.
  std::vector<Traffic> traffic = plan_traffic(model, config);
  const int64_t gathered = 2 * (embedding + 2 * blocks + head);
  EXPECT_EQ(sent(traffic, "dp_shard", "all_gather", "weights"), gathered / 32 * 31);
  EXPECT_EQ(sent(traffic, "dp_shard", "reduce_scatter", "gradients"), 4 * all / 32 * 31);
  EXPECT_EQ(sent(traffic, "dp_replicate", "all_reduce", "gradients"), 4 * all / 32);
  EXPECT_EQ(traffic.size(), 3u);

  config.sharder = never(in_bf16(3));
  traffic = plan_traffic(model, config);
  EXPECT_EQ(sent(traffic, "dp_shard", "all_gather", "weights"), 3 * 2 * all / 32 * 31);
  EXPECT_EQ(sent(traffic, "dp_shard", "reduce_scatter", "gradients"), 3 * 4 * all / 32 * 31);
  EXPECT_EQ(sent(traffic, "dp_replicate", "all_reduce", "gradients"), 4 * all / 32);  // once

  config.sharder = in_bf16();
  config.mesh = {1, 1, 8};
  traffic = plan_traffic(model, config);
  const int64_t stream = 8192 * 4096 * 2;
  // Six gathers and four scatters a block, two and two of embedding and head.
  EXPECT_EQ(sent(traffic, "tp", "all_gather", "activations"), (32 * 6 + 2) * stream / 8 * 7);
  EXPECT_EQ(sent(traffic, "tp", "reduce_scatter", "activations"), (32 * 4 + 2) * stream / 8 * 7);
  EXPECT_EQ(sent(traffic, "tp", "all_gather", "loss statistics"), 8192 * 12 * 7);
  EXPECT_EQ(sent(traffic, "tp", "all_reduce", "gradients of norms"), 2 * 65 * 4096 * 4 / 8 * 7);
  EXPECT_EQ(traffic.size(), 4u);

  EXPECT_TRUE(plan_traffic(model, {.batch = 1, .seq_len = 8192, .sharder = in_bf16()}).empty());
}

TEST(MeshPlan, EmbeddingOfFewTokensSendsItsOutputs) {
  const DecoderConfig model = registry("llama3", "8B", {});
  const PlanConfig config{.batch = 1, .seq_len = 8192, .sharder = in_bf16(), .mesh = {1, 4, 1}};
  const std::vector<Traffic> traffic = plan_traffic(model, config);
  const int64_t outputs = 4 * 8192 * 4096 * 2, ids = 4 * 8192 * 4;
  EXPECT_EQ(sent(traffic, "dp_shard", "all_gather", "embedding"), (outputs + 2 * ids) / 4 * 3);
  EXPECT_EQ(sent(traffic, "dp_shard", "reduce_scatter", "embedding"), outputs / 4 * 3);
  const int64_t others = 8'030'261'248 - 128256LL * 4096;
  EXPECT_EQ(sent(traffic, "dp_shard", "reduce_scatter", "gradients"), 4 * others / 4 * 3);
}

// ---- Memory by hand ----

TEST(MeshPlan, StateIsDividedAmongTheRanks) {
  const DecoderConfig model = registry("llama3", "8B", {});
  const auto plan = [&](const MeshShape& mesh) {
    return plan_memory(model, {.batch = 1, .seq_len = 8192, .sharder = in_bf16(), .mesh = mesh});
  };
  const int64_t all = 8'030'261'248, norms = 65 * 4096;
  for (const MeshShape& mesh : {MeshShape{1, 1, 1}, MeshShape{1, 8, 1}, MeshShape{4, 8, 1},
                                MeshShape{1, 1, 8}, MeshShape{1, 8, 4}, MeshShape{2, 16, 8}}) {
    SCOPED_TRACE(concat(mesh.dp_replicate, " x ", mesh.dp_shard, " x ", mesh.tp));
    const int64_t own = ((all - norms) / mesh.tp + norms) / mesh.dp_shard;
    const MemoryPlan found = plan(mesh);
    EXPECT_EQ(found.masters, 4 * own);
    EXPECT_EQ(found.moments, 8 * own);
    EXPECT_EQ(found.compute_copies, 2 * own);
    if (mesh.data_ranks() > 1) EXPECT_EQ(found.gradients, 4 * own);
  }
  // Replicas hold what one does, but that gradients are summed over them in fp32.
  EXPECT_EQ(plan({4, 8, 1}).peak.bytes, plan({1, 8, 1}).peak.bytes);
  EXPECT_GT(plan({2, 1, 1}).gradients, plan({1, 1, 1}).gradients);
}

TEST(MeshPlan, UnevenRowsArePadded) {
  const DecoderConfig model = registry("llama3", "debugmodel", {.n_layers = 1, .vocab_size = 100});
  const MemoryPlan plan =
      plan_memory(model, {.batch = 1, .seq_len = 32, .sharder = in_bf16(), .mesh = {1, 3, 1}});
  // Rows of 100 (twice), 3 x 256, 256, 2 x 768, 256 and three norms of 256 in three parts.
  const int64_t shard = (2 * 34 + 256 + 86 + 512) * 256 + 86 * 768 + 3 * 86;
  EXPECT_EQ(plan.masters, 4 * shard);
  EXPECT_EQ(plan.compute_copies, 2 * shard);
}

TEST(MeshPlan, WeightsAndGradientsInFlight) {
  const DecoderConfig model = registry("llama3", "8B", {.n_layers = 4, .vocab_size = 1024});
  const auto plan = [&](bool reshard) {
    SharderConfig sharding = in_bf16();
    sharding.reshard_after_forward = reshard;
    return plan_memory(model,
                       {.batch = 1, .seq_len = 8192, .sharder = sharding, .mesh = {1, 4, 1}});
  };
  const int64_t block = 2 * 4096 * 4096 + 2 * 1024 * 4096 + 3 * 14336LL * 4096 + 2 * 4096;
  EXPECT_EQ(plan(true).gathered_weights, 2 * 2 * block);  // the one that computes and the next
  EXPECT_EQ(plan(true).gradients_in_reduction, 2 * 4 * block);
  // All blocks and the head, which is gathered while the last block computes.
  EXPECT_EQ(plan(false).gathered_weights, 2 * (4 * block + 1024 * 4096 + 4096));
  EXPECT_GT(plan(false).peak.bytes, plan(true).peak.bytes);
}

TEST(MeshPlan, TensorParallelDividesActivations) {
  const auto kept = [](Recompute recompute, int64_t tp) {
    DecoderConfig model = registry("llama3", "8B", {.n_layers = 1});
    model.layers[0].recompute = recompute;
    return plan_memory(model,
                       {.batch = 1, .seq_len = 8192, .sharder = in_bf16(), .mesh = {1, 1, tp}})
        .saved_activations;
  };
  for (Recompute recompute : {kNothing, kGateUp, kBlock}) {
    EXPECT_EQ(kept(recompute, 8) * 8, kept(recompute, 1));
  }
}

}  // namespace
}  // namespace titan
