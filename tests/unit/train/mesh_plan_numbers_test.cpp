// The plan of a mesh against numbers worked out by hand.
#include "lib/base/error.hpp"
#include "lib/train/memory_plan.hpp"
#include "lib/train/traffic_plan.hpp"
#include "tests/unit/train/train_testing.hpp"

namespace titan {
namespace {

SharderConfig never(SharderConfig sharding) {
  sharding.reshard_after_forward = false;
  return sharding;
}

int64_t sent(const std::vector<Traffic>& traffic, const std::string& axis,
             const std::string& collective, const std::string& what) {
  int64_t sum = 0;
  for (const Traffic& each : traffic) {
    if (each.axis == axis && each.collective == collective && each.what == what) sum += each.bytes;
  }
  return sum;
}

TEST(MeshPlanNumbers, TrafficOf8B) {
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

TEST(MeshPlanNumbers, EmbeddingOfFewTokensSendsItsOutputs) {
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

TEST(MeshPlanNumbers, StateIsDividedAmongTheRanks) {
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
    if (mesh.data_ranks() > 1) {
      EXPECT_EQ(found.gradients, 4 * own);
    }
  }
  // Replicas hold what one does, but that gradients are summed over them in fp32.
  EXPECT_EQ(plan({4, 8, 1}).peak.bytes, plan({1, 8, 1}).peak.bytes);
  EXPECT_GT(plan({2, 1, 1}).gradients, plan({1, 1, 1}).gradients);
}

TEST(MeshPlanNumbers, UnevenRowsArePadded) {
  const DecoderConfig model = registry("llama3", "debugmodel", {.n_layers = 1, .vocab_size = 100});
  const MemoryPlan plan =
      plan_memory(model, {.batch = 1, .seq_len = 32, .sharder = in_bf16(), .mesh = {1, 3, 1}});
  // Rows of 100 (twice), 3 x 256, 256, 2 x 768, 256 and three norms of 256 in three parts.
  const int64_t shard = (2 * 34 + 256 + 86 + 512) * 256 + 86 * 768 + 3 * 86;
  EXPECT_EQ(plan.masters, 4 * shard);
  EXPECT_EQ(plan.compute_copies, 2 * shard);
}

TEST(MeshPlanNumbers, WeightsAndGradientsInFlight) {
  const DecoderConfig model = registry("llama3", "8B", {.n_layers = 4, .vocab_size = 1024});
  const auto plan = [&](bool reshard, bool copies_shards = false) {
    SharderConfig sharding = in_bf16();
    sharding.reshard_after_forward = reshard;
    return plan_memory(model, {.batch = 1,
                               .seq_len = 8192,
                               .sharder = sharding,
                               .mesh = {1, 4, 1},
                               .copies_shards = copies_shards});
  };
  const int64_t matrices = 2 * 4096 * 4096 + 2 * 1024 * 4096 + 3 * 14336LL * 4096;
  const int64_t norms = 2 * 4096, block = matrices + norms;
  EXPECT_EQ(plan(true).gathered_weights, 2 * 2 * block);  // the one that computes and the next
  // One block's as they are written, the one before on its way: in fp32, or as it was written and,
  // from three other ranks, in inboxes.
  const int64_t written = 2 * matrices + 4 * norms;
  EXPECT_EQ(plan(true).gradients_in_reduction, written + 4 * block);
  EXPECT_EQ(plan(true, true).gradients_in_reduction, 2 * written);
  EXPECT_EQ(plan(true, true).workspace, plan(true).workspace + 3 * written / 4);
  // All blocks and the head, which is gathered while the last block computes.
  EXPECT_EQ(plan(false).gathered_weights, 2 * (4 * block + 1024 * 4096 + 4096));
  EXPECT_GT(plan(false).peak.bytes, plan(true).peak.bytes);
}

TEST(MeshPlanNumbers, TensorParallelDividesActivations) {
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
