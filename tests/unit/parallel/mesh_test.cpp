#include "lib/parallel/mesh.hpp"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "tests/unit/parallel/rank_threads.hpp"

namespace titan {
namespace {

using testing::on_every_rank;

at::Tensor ranks_value(int64_t rows, int64_t rank) {
  return at::arange(rows * 3, at::kFloat).view({rows, 3}) + 100.0 * static_cast<double>(rank);
}

TEST(Group, GathersReducesAndScattersRows) {
  on_every_rank(4, [](World& world) {
    const Group group = world.group("all", {0, 1, 2, 3});
    ASSERT_EQ(group.rank(), world.rank());
    const at::Tensor own = ranks_value(2, world.rank());
    at::Tensor gathered = at::empty({8, 3});
    group.all_gather(gathered, own);
    EXPECT_TRUE(gathered.equal(
        at::cat({ranks_value(2, 0), ranks_value(2, 1), ranks_value(2, 2), ranks_value(2, 3)})));

    at::Tensor scattered = at::empty({2, 3});
    group.reduce_scatter(scattered, gathered * static_cast<double>(world.rank() + 1));
    EXPECT_TRUE(scattered.equal(own * 10));

    at::Tensor sum = own.clone(), largest = own.clone();
    group.all_reduce_(sum);
    group.all_reduce_(largest, Reduction::kMax);
    EXPECT_TRUE(sum.equal(ranks_value(2, 0) * 4 + 600));
    EXPECT_TRUE(largest.equal(ranks_value(2, 3)));
  });
}

TEST(Group, OfOneRankCopies) {
  const Group alone;
  const at::Tensor value = ranks_value(2, 7);
  at::Tensor out = at::empty_like(value);
  alone.all_gather(out, value);
  EXPECT_TRUE(out.equal(value));
  alone.all_reduce_(out);
  EXPECT_TRUE(out.equal(value));
}

TEST(HostGroup, ExchangesMessagesOfAnyLength) {
  on_every_rank(3, [](World& world) {
    const std::unique_ptr<HostGroup> hosts = world.host_group("test");
    const std::string own(static_cast<size_t>(world.rank()) * 1000, 'a' + char(world.rank()));
    EXPECT_EQ(hosts->exchange(own),
              (std::vector<std::string>{"", std::string(1000, 'b'), std::string(2000, 'c')}));
    EXPECT_EQ(hosts->broadcast(world.rank() == 0 ? "zero" : "other"), "zero");
    int64_t values[] = {world.rank(), -world.rank()};
    hosts->max_(values);
    EXPECT_EQ(values[0], 2);
    EXPECT_EQ(values[1], 0);
    hosts->barrier();
  });
}

// Every axis joins the ranks that differ in it alone, tp fastest.
TEST(Mesh, JoinsTheRanksOfEveryAxis) {
  on_every_rank(8, [](World& world) {
    const Mesh mesh = make_mesh({.dp_replicate = 2, .dp_shard = 2, .tp = 2}, world);
    const auto sum_of_ranks = [&](const Group& group) {
      at::Tensor rank = at::full({}, static_cast<double>(world.rank()));
      group.all_reduce_(rank);
      return rank.item<double>();
    };
    const int64_t tp = world.rank() % 2, shard = world.rank() / 2 % 2;
    EXPECT_EQ(mesh.tp.rank(), tp);
    EXPECT_EQ(mesh.dp_shard.rank(), shard);
    EXPECT_EQ(mesh.dp_replicate.rank(), world.rank() / 4);
    EXPECT_EQ(mesh.data_rank(), world.rank() / 2);
    EXPECT_EQ(sum_of_ranks(mesh.world), 28);
    EXPECT_EQ(sum_of_ranks(mesh.tp), static_cast<double>(2 * (world.rank() - tp) + 1));
    EXPECT_EQ(sum_of_ranks(mesh.dp_shard), static_cast<double>(2 * (world.rank() - 2 * shard) + 2));
    EXPECT_EQ(sum_of_ranks(mesh.dp_replicate), static_cast<double>(2 * (world.rank() % 4) + 4));
  });
}

}  // namespace
}  // namespace titan
