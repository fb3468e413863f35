// Shards that copies between ranks gather and sum: with ranks that are threads, each at its own
// speed. What is awaited is there; what is still needed is not overwritten.
#include "lib/parallel/shard_exchange.hpp"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <random>
#include <thread>

#include "lib/base/error.hpp"
#include "tests/unit/parallel/rank_threads.hpp"

namespace titan {
namespace {

constexpr int kSteps = 30;

// Sometimes this rank is late.
void dawdle(std::mt19937& random) {
  if (random() % 3 == 0) std::this_thread::sleep_for(std::chrono::microseconds(random() % 300));
}

using Rank = std::function<void(ShardExchange&, int64_t rank, std::mt19937& random)>;

void on_ranks(int64_t ranks, int64_t shard_bytes, int64_t inbox_bytes, const Rank& body) {
  std::vector<int64_t> all;
  for (int64_t rank = 0; rank < ranks; ++rank) all.push_back(rank);
  testing::on_every_rank(ranks, [&](World& world) {
    ShardExchange exchange(world.group("ranks", all), {}, ops::Device::cpu(), shard_bytes,
                           inbox_bytes);
    TITAN_CHECK(exchange.copies(), exchange.why_not());
    std::mt19937 random(static_cast<unsigned>(world.rank()));
    body(exchange, world.rank(), random);
  });
}

// Integers, which bf16 and sums of a few hold exactly, that no other step, rank or tensor has.
at::Tensor values(const std::vector<int64_t>& shape, int64_t step, int64_t rank, int64_t tensor) {
  int64_t count = 1;
  for (const int64_t size : shape) count *= size;
  return (at::arange(count) * 7 + 31 * step + 5 * rank + 3 * tensor).remainder(61).view(shape);
}

struct Part {
  std::vector<int64_t> rows;  // shape of one rank's
  at::ScalarType dtype;
};
const Part kParts[] = {
    {{5, 7}, at::kBFloat16}, {{64, 24}, at::kBFloat16}, {{3}, at::kFloat}, {{17, 33}, at::kFloat}};

std::vector<int64_t> of_all(std::vector<int64_t> rows, int64_t ranks) {
  rows[0] *= ranks;
  return rows;
}

// What the optimizer overwrites is what the next step gathers: everybody waits for all to have
// written; nobody writes before all have sent what they made of the last gather.
TEST(ShardExchange, GathersAndSumsStepByStep) {
  int64_t shard_bytes = 0;
  for (const Part& part : kParts) {
    shard_bytes += ShardExchange::padded_bytes(part.rows, part.dtype);
  }
  for (const int64_t ranks : {2, 3, 4, 8}) {
    for (const int64_t inbox_bytes : {512, 1536, 1 << 20}) {  // many turns; a few; one
      SCOPED_TRACE(::testing::Message() << ranks << " ranks, inboxes of " << inbox_bytes);
      on_ranks(ranks, shard_bytes, inbox_bytes,
               [&](ShardExchange& exchange, int64_t rank, auto& random) {
                 std::vector<at::Tensor> shards, sums;
                 for (const Part& part : kParts) {
                   shards.push_back(exchange.zeros(part.rows, part.dtype));
                   EXPECT_TRUE(shards.back().eq(0).all().template item<bool>());
                   sums.push_back(at::empty(part.rows, at::kFloat));
                 }
                 for (int64_t step = 0; step < kSteps; ++step) {
                   for (size_t i = 0; i < shards.size(); ++i) {
                     shards[i].copy_(values(kParts[i].rows, step, rank, static_cast<int64_t>(i)));
                   }
                   dawdle(random);
                   exchange.written();
                   std::vector<Transfer> gathers, reductions;
                   for (size_t i = 0; i < shards.size(); ++i) {
                     gathers.push_back(
                         {at::empty(of_all(kParts[i].rows, ranks), kParts[i].dtype), shards[i]});
                     reductions.push_back(
                         {sums[i], at::empty(of_all(kParts[i].rows, ranks), kParts[i].dtype)});
                   }
                   exchange.all_gather(gathers);
                   for (size_t i = 0; i < shards.size(); ++i) {
                     for (int64_t other = 0; other < ranks; ++other) {
                       const at::Tensor expected =
                           values(kParts[i].rows, step, other, static_cast<int64_t>(i))
                               .to(kParts[i].dtype);
                       ASSERT_TRUE(at::equal(gathers[i].out.chunk(ranks)[other], expected))
                           << "step " << step << ", tensor " << i << ", rank " << other;
                     }
                     reductions[i].in.copy_(values(of_all(kParts[i].rows, ranks), step, rank, 9));
                   }
                   dawdle(random);
                   const bool accumulate = step % 3 == 2;
                   const std::vector<at::Tensor> before = {sums[0].clone(), sums[1].clone(),
                                                           sums[2].clone(), sums[3].clone()};
                   exchange.reduce_scatter(reductions, accumulate);
                   for (size_t i = 0; i < shards.size(); ++i) {
                     at::Tensor expected = accumulate ? before[i] : at::zeros_like(sums[i]);
                     for (int64_t other = 0; other < ranks; ++other) {
                       expected +=
                           values(of_all(kParts[i].rows, ranks), step, other, 9).chunk(ranks)[rank];
                     }
                     ASSERT_TRUE(at::equal(sums[i], expected))
                         << "step " << step << ", tensor " << i;
                   }
                 }
               });
    }
  }
}

// Each element is added up from the first rank to the last, so that its bits do not depend on how
// parts are cut into turns.
TEST(ShardExchange, AddsInTheOrderOfTheRanks) {
  constexpr int64_t kRanks = 4, kCount = 1000;
  const auto of_rank = [](int64_t rank) {
    at::Generator generator = at::detail::createCPUGenerator(static_cast<uint64_t>(rank));
    return at::randn({kRanks * kCount}, generator, at::TensorOptions(at::kFloat)).to(at::kBFloat16);
  };
  on_ranks(kRanks, 0, 512, [&](ShardExchange& exchange, int64_t rank, auto&) {
    const at::Tensor sum = at::empty({kCount}, at::kFloat);
    exchange.reduce_scatter({{sum, of_rank(rank)}}, false);
    at::Tensor expected = of_rank(0).chunk(kRanks)[rank].to(at::kFloat);
    for (int64_t other = 1; other < kRanks; ++other) expected += of_rank(other).chunk(kRanks)[rank];
    EXPECT_TRUE(at::equal(sum, expected));
  });
}

}  // namespace
}  // namespace titan
