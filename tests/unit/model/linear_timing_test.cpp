// Timing a linear group at every place of a model, in every mix of precisions: that all of it runs.
// What the times are worth is seen on a GPU (tests/speed).
#include "lib/model/linear_timing.hpp"

#include <gtest/gtest.h>

#include "lib/float8/matmul.hpp"
#include "lib/model/measured_filter.hpp"

namespace titan {
namespace {

using Place = LinearGroupKind::Place;

LinearGroupKind kind(Place place, std::vector<LinearGroupKind::Member> members, int64_t tp = 1) {
  return {.name = "", .place = place, .m = 32, .k = 48, .members = std::move(members), .tp = tp};
}

const LinearGroupKind kKinds[] = {
    kind(Place::kQkv, {{"wq", 64}, {"wk", 16}, {"wv", 16}}),
    kind(Place::kWo, {{"wo", 32}}),
    kind(Place::kGateUp, {{"w1", 64}, {"w3", 64}}),
    kind(Place::kDown, {{"w2", 32}}),
    kind(Place::kOutput, {{"output", 96}}),
    kind(Place::kQkv, {{"wq", 64}, {"wk", 16}, {"wv", 16}}, 2),
    kind(Place::kWo, {{"wo", 32}}, 2),
    kind(Place::kGateUp, {{"w1", 64}, {"w3", 64}}, 2),
    kind(Place::kDown, {{"w2", 32}}, 2),
};

TEST(LinearTiming, EveryPlaceAndChoiceRuns) {
  const ops::Device device = ops::Device::cpu();
  for (const LinearGroupKind& kind : kKinds) {
    const std::vector<Float8Members> choices =
        float8_choices(kind, Float8Members(kind.members.size(), true));
    for (const Float8Recipe recipe : {Float8Recipe::kRowwise, Float8Recipe::kRowwiseWithGwHp}) {
      for (const int64_t micro_batches : {1, 3}) {
        // One rank and many of each sort, dealt out among the kinds.
        const MeshShape mesh = {.dp_replicate = kind.tp,
                                .dp_shard = kind.place == Place::kWo ? 2 : 1};
        const std::vector<double> milliseconds = time_linear_group_sync(
            device, kind, choices,
            {.recipe = recipe, .sharder = {.micro_batches = micro_batches}, .mesh = mesh});
        ASSERT_EQ(milliseconds.size(), choices.size());
        for (const double each : milliseconds) EXPECT_GT(each, 0) << kind.members[0].name;
      }
    }
  }
}

TEST(LinearTiming, OnlyFloat8ChoicesRunFloat8Products) {
  const ops::Device device = ops::Device::cpu();
  const auto executed = [&](const Float8Members& choice, Float8Recipe recipe) {
    const int64_t before = float8::matmuls_executed();
    time_linear_group_sync(device, kKinds[0], {choice}, {.recipe = recipe, .sharder = {}});
    return float8::matmuls_executed() - before;
  };
  EXPECT_EQ(executed({false, false, false}, Float8Recipe::kRowwise), 0);
  const int64_t all = executed({true, true, true}, Float8Recipe::kRowwise);
  EXPECT_GT(all, 0);
  EXPECT_EQ(all % 3, 0);  // forward, dgrad, wgrad
  EXPECT_EQ(executed({true, true, true}, Float8Recipe::kRowwiseWithGwHp) % 2, 0);
}

}  // namespace
}  // namespace titan
