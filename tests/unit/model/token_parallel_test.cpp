// Sums over tensor-parallel ranks.
#include "lib/model/token_parallel.hpp"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "lib/parallel/peer_channels.hpp"
#include "tests/unit/parallel/rank_threads.hpp"

namespace titan {
namespace {

using testing::on_every_rank;

// In bf16, 256 and 1/2 are 256, and so on for each rank's 1/2; 256 and their sum 2 are 258.
TEST(TokenParallel, TheResidualIsRoundedOnce) {
  constexpr int64_t kRanks = 4, kTokens = 16, kIn = 8, kOut = 16;
  for (const bool async : {false, true}) {
    SCOPED_TRACE(async ? "async" : "plain");
    on_every_rank(kRanks, [&](World& world) {
      const ops::Device device = ops::Device::cpu();
      const ops::SideStream stream(device);
      const Group group = world.group("tp", {0, 1, 2, 3});
      std::string why_not;
      std::unique_ptr<PeerChannels> peers;
      if (async) peers = PeerChannels::open(group, device, kTokens * kOut * 2, why_not);
      EXPECT_EQ(why_not, "");
      const StepContext context{
          .device = device, .tp = group, .tp_stream = &stream, .peers = peers.get()};

      const auto options = at::TensorOptions().dtype(at::kBFloat16);
      Weight weight{{kOut, kIn}, at::full({kOut, kIn}, 0.0625, options), {}};
      weight.runs.emplace_back().rows = kOut;
      const at::Tensor x = at::ones({kRanks * kTokens, kIn}, options);
      const at::Tensor residual = at::full({kTokens, kOut}, 256, options);
      const at::Tensor y =
          linear_forward_scattered(context, weight, linear_input(weight, x), residual);
      EXPECT_TRUE(y.equal(at::full_like(residual, 258))) << y;
    });
  }
}

}  // namespace
}  // namespace titan
