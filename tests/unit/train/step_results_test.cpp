#include "lib/train/step_results.hpp"

#include <cmath>

#include "tests/unit/train/train_testing.hpp"

namespace titan {
namespace {

at::Tensor flag(int value) { return at::full({}, value, at::kInt); }

TEST(StepResults, ComeOnceAndInOrder) {
  const ops::Device device = ops::Device::cpu();
  StepResults results(device);
  EXPECT_TRUE(results.arrived().empty());
  EXPECT_TRUE(results.all_sync().empty());
  results.push(7, {scalar(1.5), scalar(2), scalar(0.25), flag(0), scalar(0)});
  results.push(8, {scalar(NAN), scalar(NAN), scalar(INFINITY), flag(1), scalar(0)});
  results.push(9, {scalar(1.25), scalar(1.25), scalar(0.5), flag(0), scalar(15)});

  const std::vector<StepResult> all = results.all_sync();
  ASSERT_EQ(all.size(), 3u);
  EXPECT_EQ(all[0].step, 7);
  EXPECT_EQ(all[0].loss, 1.5);
  EXPECT_EQ(all[0].max_loss, 2);
  EXPECT_EQ(all[0].grad_norm, 0.25);
  EXPECT_FALSE(all[0].update_skipped);
  EXPECT_EQ(all[1].step, 8);
  EXPECT_TRUE(std::isnan(all[1].loss));
  EXPECT_TRUE(std::isinf(all[1].grad_norm));
  EXPECT_TRUE(all[1].update_skipped);
  EXPECT_EQ(all[1].stop_signal, 0);
  EXPECT_EQ(all[2].step, 9);
  EXPECT_EQ(all[2].stop_signal, 15);
  EXPECT_TRUE(results.all_sync().empty());
}

TEST(StepResults, AreOfTheMomentTheyWerePushed) {
  const ops::Device device = ops::Device::cpu();
  StepResults results(device);
  at::Tensor loss = scalar(1), norm = scalar(2), skipped = flag(0);
  results.push(1, {loss, loss, norm, skipped, skipped});
  loss.fill_(NAN);  // the next step writes into the same memory
  norm.fill_(NAN);
  skipped.fill_(1);
  const std::vector<StepResult> all = results.arrived();
  ASSERT_EQ(all.size(), 1u);
  EXPECT_EQ(all[0].loss, 1);
  EXPECT_EQ(all[0].grad_norm, 2);
  EXPECT_FALSE(all[0].update_skipped);
}

}  // namespace
}  // namespace titan
