// The floors of a step against sums worked out by hand.
#include "lib/train/step_floors.hpp"

#include "lib/base/error.hpp"
#include "tests/unit/train/train_testing.hpp"

namespace titan {
namespace {

// Llama-3 8B width, 16 layers, 2 x 8192 tokens.
JobConfig work_a() {
  JobConfig job;
  job.model.name = "llama3";
  job.model.flavor = "8B";
  job.model.n_layers = 16;
  job.training.seq_len = 8192;
  job.training.local_batch_size = 2;
  return job;
}

JobConfig in_float8(config::Float8Recipe recipe) {
  JobConfig job = work_a();
  job.model.converters = {"quantize.linear.float8"};
  job.quantize.linear.float8.filter_fqns = {"output"};
  job.quantize.linear.float8.recipe_name = recipe;
  return job;
}

// Milliseconds of so many bytes for each token of a layer.
double per_layer(double bytes) { return bytes * 16384 * 16 / 4.30e12 * 1e3; }

constexpr double kLinears = 16 * 218.103808e6, kOutput = 128256.0 * 4096, kFlops = 2 * 16384;

TEST(StepFloors, InBf16) {
  const JobConfig job = work_a();
  auto floor = step_floors(plan_job(job), job);
  EXPECT_NEAR(floor["matmul"], 3 * kFlops * (kLinears + kOutput) / 713e12 * 1e3, 0.01);
  EXPECT_NEAR(floor["attention"], 120.1, 0.1);
  EXPECT_NEAR(floor["norms"], per_layer((4 + 10 + 4 + 10) * 4096), 0.01);
  EXPECT_NEAR(floor["swiglu, rope"], per_layer((6 + 12) * 14336 + 4 * 5120 + 4 * 6144), 0.01);
  EXPECT_EQ(floor["quantize"], 0);
  EXPECT_NEAR(floor["optimizer"], 30 * 4.540600320e9 / 4.30e12 * 1e3, 0.01);
}

TEST(StepFloors, InFloat8) {
  const JobConfig job = in_float8(config::Float8Recipe::kRowwise);
  auto floor = step_floors(plan_job(job), job);
  EXPECT_NEAR(floor["matmul"],
              kFlops * 1e3 * (kLinears / 1413e12 + 2 * kLinears / 1277e12 + 3 * kOutput / 713e12),
              0.01);
  // The outputs of norms and SwiGLU are copies of one byte; wo and gate_up get theirs of gradients.
  EXPECT_NEAR(floor["norms"], per_layer((3 + 8 + 3 + 9) * 4096), 0.01);
  EXPECT_NEAR(floor["swiglu, rope"], per_layer((5 + 12) * 14336 + 4 * 5120 + 4 * 6144), 0.01);
  const double qkv = 3 * 4096 + 6 * 6144, wo = 9 * 4096, gate_up = 3 * 4096 + 6 * 14336,
               down = 5 * 14336 + 6 * 4096;
  EXPECT_NEAR(floor["quantize"], per_layer(qkv + wo + gate_up + down) + 6 * kLinears / 4.30e9,
              0.01);
}

TEST(StepFloors, InFloat8WithWgradInBf16) {
  const JobConfig job = in_float8(config::Float8Recipe::kRowwiseWithGwHp);
  auto floor = step_floors(plan_job(job), job);
  EXPECT_NEAR(floor["norms"], per_layer((3 + 10 + 3 + 11) * 4096), 0.01);
  EXPECT_NEAR(floor["swiglu, rope"], per_layer((5 + 14) * 14336 + 4 * 5120 + 4 * 6144), 0.01);
  EXPECT_NEAR(floor["quantize"], per_layer(3 * 6144 + 3 * 4096 + 3 * 4096) + 6 * kLinears / 4.30e9,
              0.01);
}

}  // namespace
}  // namespace titan
