// The plan of a mesh against what ranks, which are threads here, hold and send.
#include <barrier>
#include <chrono>
#include <nlohmann/json.hpp>
#include <torch/csrc/distributed/c10d/FlightRecorder.hpp>

#include "lib/base/error.hpp"
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
using testing::ProcessGroupsOnly;

constexpr int64_t kBatch = 2, kSeqLen = 24;

struct Case {
  const char* name;
  MeshShape mesh;
  SharderConfig sharding;
  std::vector<Recompute> recompute = {kNothing, kBlock};
  std::optional<Float8Recipe> float8 = {};
  int64_t vocab = 64;
  bool loss_parallel = true;
  bool copies_shards = true;
};

SharderConfig never(SharderConfig sharding) {
  sharding.reshard_after_forward = false;
  return sharding;
}

Case by_process_group(Case each) {
  each.copies_shards = false;
  return each;
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
      {"fsdp, embedding by rows", {1, 2, 1}, in_bf16(2), {kNothing, kBlock}, {}, 256},
      {"ddp", {2, 1, 1}, in_bf16()},
      {"ddp, accumulated", {2, 1, 1}, in_bf16(2)},
      {"hsdp", {2, 2, 1}, in_bf16(2)},
      {"tp", {1, 1, 2}, in_bf16(), {kNothing, kGateUp, kBlock}},
      {"tp, accumulated", {1, 1, 2}, in_bf16(2)},
      {"tp, float8", {1, 1, 2}, in_bf16(), {kNothing, kGateUp, kBlock}, kRowwise},
      {"tp, float8, wgrad in bf16", {1, 1, 2}, in_bf16(), {kNothing, kBlock}, kGwHp},
      {"tp, whole logits", {1, 1, 2}, in_bf16(), {kNothing}, {}, 64, false},
      {"fsdp and tp", {1, 2, 2}, in_bf16(), {kNothing, kGateUp, kBlock}, kRowwise},
      by_process_group({"fsdp by a process group", {1, 2, 1}, never(in_bf16(2))}),
      by_process_group({"hsdp by a process group", {2, 2, 1}, in_bf16(2)}),
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
  return {.batch = kBatch,
          .seq_len = kSeqLen,
          .sharder = each.sharding,
          .mesh = each.mesh,
          .loss_parallel = each.loss_parallel,
          .copies_shards = each.copies_shards};
}

int64_t bytes(const at::Tensor& tensor) {
  return tensor.defined() ? static_cast<int64_t>(tensor.nbytes()) : 0;
}

// What the ranks of a case have in common.
struct Ranks {
  explicit Ranks(int64_t size) : size(size), barrier(size) {}
  int64_t size;
  std::barrier<> barrier;
};

// Runs `test(model, case, ranks, whether it is rank 0)` on every rank of every case.
template <class Test>
void on_meshes(Test test) {
  for (const Case& each : cases()) {
    SCOPED_TRACE(each.name);
    std::optional<ProcessGroupsOnly> process_groups_only;
    if (!each.copies_shards) process_groups_only.emplace();
    Ranks ranks(each.mesh.size());
    on_every_rank(each.mesh.size(), [&](World& world) {
      MeshModel model(model_of(each), each.sharding, each.mesh, world, each.loss_parallel);
      ranks.barrier.arrive_and_wait();
      test(model, each, ranks, world.rank() == 0);
      ranks.barrier.arrive_and_wait();
    });
  }
}

// Whether rows divide, so that all ranks hold as much as the first.
bool even(const Case& each) { return each.mesh.dp_shard != 3; }

// A step's micro-batches; the last one's loss.
at::Tensor forward_backward(MeshModel& model, const Case& each) {
  at::Tensor loss;
  for (int64_t i = 0; i < each.sharding.micro_batches; ++i) {
    MicroBatch batch = random_batch(kBatch, kSeqLen);
    batch.tokens.remainder_(each.vocab);
    batch.labels.remainder_(each.vocab);
    loss = model.step.forward_backward(batch, scalar(0.01), i + 1 == each.sharding.micro_batches);
  }
  return loss;
}

TEST(MeshPlan, ParametersTakeWhatThePlanSays) {
  on_meshes([](MeshModel& model, const Case& each, Ranks&, bool first) {
    forward_backward(model, each);
    if (!first) return;
    int64_t masters = 0, moments = 0, gradients = 0, copies = 0;
    for (const Parameter* parameter : model.sharder.parameters()) {
      masters += bytes(parameter->master);
      moments += bytes(parameter->exp_avg) + bytes(parameter->exp_avg_sq);
      gradients += bytes(parameter->gradient);
      if (each.sharding.compute_dtype != at::kFloat) copies += bytes(parameter->compute);
    }
    const MemoryPlan plan = plan_memory(model.config, config_of(each));
    EXPECT_EQ(plan.masters, masters);
    EXPECT_EQ(plan.moments, moments);
    EXPECT_EQ(plan.gradients, gradients);
    EXPECT_EQ(plan.compute_copies, copies);
    EXPECT_EQ(plan.timeline.back().name, "optimizer");
    const int64_t tokens = each.sharding.micro_batches * 2 * kBatch * kSeqLen * 4;
    EXPECT_EQ(plan.timeline.back().bytes, plan.masters + plan.compute_copies + plan.float8_copies +
                                              plan.moments + plan.workspace + tokens +
                                              plan.gradients);
  });
}

TEST(MeshPlan, BlocksKeepWhatThePlanSays) {
  on_meshes([](MeshModel& model, const Case& each, Ranks&, bool first) {
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
    if (!first) return;
    EXPECT_EQ(sum, plan_memory(model.config, config_of(each)).saved_activations);
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

// The bytes that all ranks have in use, once gloo's threads have let go of what they work with:
// waits for `expected`, for which it gives up after some seconds.
int64_t settled(const ProcessAllocationWatch& memory, int64_t expected) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(5);
  while (memory.in_use() != expected && std::chrono::steady_clock::now() < end) {
    std::this_thread::yield();
  }
  return memory.in_use();
}

TEST(MeshPlan, UnitMemoryFollowsTheSharder) {
  const ProcessAllocationWatch memory;
  on_meshes([&](MeshModel& model, const Case& each, Ranks& ranks, bool first) {
    if (!even(each)) return;
    Sharder& sharder = model.sharder;
    const size_t units = sharder.units().size(), head = units - 1;
    if (each.mesh.dp_shard == 1) {  // float8 copies stay; they are made when first asked for
      for (size_t unit = 0; unit < units; ++unit) sharder.weights(unit);
    }
    MemoryTimeline timeline(0);
    UnitMemory plan(declare_units(model.config, {.rank = 0, .size = each.mesh.tp}), config_of(each),
                    timeline);
    std::vector<const Weights*> used(units);
    ranks.barrier.arrive_and_wait();
    const int64_t before = memory.in_use();
    ranks.barrier.arrive_and_wait();
    bool right = true;
    const auto compare = [&](const char* call, size_t unit) {
      ranks.barrier.arrive_and_wait();
      if (first && right) {
        int64_t beside = 0;
        for (const Weights* weights : used) {
          if (weights != nullptr && each.mesh.dp_shard > 1) beside += scales(*weights);
        }
        const int64_t expected = ranks.size * (timeline.in_use() + beside);
        EXPECT_EQ(settled(memory, before + expected) - before, expected)
            << call << " of unit " << unit;
        right = !::testing::Test::HasFailure();
      }
      ranks.barrier.arrive_and_wait();
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

// What gloo's flight recorder has of collectives since the last look: bytes put into gathers, and
// into all-reduces, as which gloo runs a reduce-scatter too. Of all ranks.
struct Collectives {
  int64_t number = 0, gathered = 0, reduced = 0;
};

Collectives new_collectives() {
  static int64_t next_id = 0;
  const std::map<std::string, int64_t> sizes = {
      {"Byte", 1}, {"Float", 4}, {"Int", 4}, {"BFloat16", 2}, {"Double", 8}};
  const auto trace = nlohmann::json::parse(c10d::dump_fr_trace_json(true, false));
  Collectives found;
  int64_t last_id = next_id - 1;
  // Without a collective so far it has no entries at all.
  const nlohmann::json entries = trace.value("entries", nlohmann::json::array());
  for (const nlohmann::json& entry : entries) {
    const int64_t id = entry.at("record_id");
    last_id = std::max(last_id, id);
    if (id < next_id) continue;
    int64_t sum = 0;
    for (size_t i = 0; i < entry.at("input_sizes").size(); ++i) {
      int64_t volume = sizes.at(entry.at("input_dtypes").at(i));
      for (int64_t extent : entry["input_sizes"][i]) volume *= extent;
      sum += volume;
    }
    if (entry.at("profiling_name") == "gloo:all_gather") found.gathered += sum;
    if (entry.at("profiling_name") == "gloo:all_reduce") found.reduced += sum;
  }
  found.number = last_id + 1 - next_id;
  next_id = last_id + 1;
  return found;
}

TEST(MeshPlan, RanksSendWhatThePlanSays) {
  const ProcessGroupsOnly whose_collectives_are_recorded;
  for (Case each : cases()) {
    if (each.mesh.size() != 2) continue;  // with more axes than one gloo does not tell them apart
    SCOPED_TRACE(each.name);
    each.copies_shards = false;
    Ranks ranks(2);
    on_every_rank(2, [&](World& world) {
      MeshModel model(model_of(each), each.sharding, each.mesh, world, each.loss_parallel);
      ranks.barrier.arrive_and_wait();
      if (world.rank() == 0) new_collectives();
      ranks.barrier.arrive_and_wait();
      forward_backward(model, each);
    });
    const Collectives found = new_collectives();
    ASSERT_LT(found.number, 2000) << "the recorder has lost some";
    // Of two ranks each sends its input of a gather, half of that of a reduce-scatter, and as much
    // as it puts into an all-reduce.
    int64_t gathered = 0, reduced = 0;
    for (const Traffic& traffic : plan_traffic(model_of(each), config_of(each))) {
      if (traffic.collective == "all_gather") gathered += traffic.bytes;
      if (traffic.collective == "reduce_scatter") reduced += 2 * traffic.bytes;
      if (traffic.collective == "all_reduce") reduced += traffic.bytes;
    }
    EXPECT_EQ(found.gathered, 2 * gathered);
    EXPECT_EQ(found.reduced, 2 * reduced);
  }
}

}  // namespace
}  // namespace titan
