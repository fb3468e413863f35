// Options of a job as the parts below understand them.
#include "lib/train/from_job.hpp"

#include "lib/base/error.hpp"
#include "tests/unit/train/train_testing.hpp"

namespace titan {
namespace {

using config::ActivationCheckpointMode;
using testing::AllOf;
using testing::Each;
using testing::ElementsAre;
using testing::HasSubstr;

std::vector<Recompute> policies(ActivationCheckpointMode mode, const std::string& option = "2") {
  JobConfig job;  // the debug model: six layers
  job.activation_checkpoint.mode = mode;
  job.activation_checkpoint.selective_ac_option = option;
  std::vector<Recompute> recompute;
  for (const BlockConfig& block : decoder_config(job).layers) recompute.push_back(block.recompute);
  return recompute;
}

TEST(FromJob, RecomputePolicyOfEachMode) {
  using Mode = ActivationCheckpointMode;
  EXPECT_THAT(policies(Mode::kNone), Each(kNothing));
  EXPECT_THAT(policies(Mode::kFull), Each(kBlock));
  EXPECT_THAT(policies(Mode::kSelective, "op"), Each(kGateUp));
  EXPECT_THAT(policies(Mode::kSelective, "0"), Each(kBlock));
  EXPECT_THAT(policies(Mode::kSelective, "1"), Each(kBlock));
  // Upstream counts blocks from 1: every second means the second, fourth and sixth.
  EXPECT_THAT(policies(Mode::kSelective, "2"),
              ElementsAre(kNothing, kBlock, kNothing, kBlock, kNothing, kBlock));
  EXPECT_THAT(policies(Mode::kSelective, "4"),
              ElementsAre(kNothing, kNothing, kNothing, kBlock, kNothing, kNothing));
  EXPECT_THAT(policies(Mode::kSelective, "7"), Each(kNothing));
}

TEST(FromJob, RefusesAnotherSelectiveOptionByName) {
  for (const char* option : {"", "two", "-1", "2.5", "2 ", "99999999999999999999"}) {
    EXPECT_THAT(
        message_of<InputError>([&] { policies(ActivationCheckpointMode::kSelective, option); }),
        AllOf(HasSubstr("activation_checkpoint.selective_ac_option"),
              HasSubstr(concat("\"", option, "\""))));
  }
}

TEST(FromJob, MeshOfTheDegrees) {
  JobConfig job;
  EXPECT_EQ(mesh_shape(job, 1), MeshShape{});
  EXPECT_EQ(mesh_shape(job, 8), (MeshShape{.dp_shard = 8}));
  job.parallelism.data_parallel_replicate_degree = 2;
  job.parallelism.tensor_parallel_degree = 8;
  EXPECT_EQ(mesh_shape(job, 64), (MeshShape{.dp_replicate = 2, .dp_shard = 4, .tp = 8}));
  EXPECT_THAT(message_of<InputError>([&] { mesh_shape(job, 8); }),
              HasSubstr("the degrees do not make up the 8 ranks"));
}

TEST(FromJob, TensorParallelSplitsTheModelEvenly) {
  JobConfig job;
  job.model.flavor = "8B";  // 32 heads, 8 of keys and values, feed-forward 14336, 128256 words
  const auto refused = [&](int64_t tp) {
    return message_of<InputError>([&] { decoder_config(job, {.tp = tp}); });
  };
  for (int64_t tp : {1, 2, 4, 8}) EXPECT_NO_THROW(decoder_config(job, {.tp = tp})) << tp;
  EXPECT_EQ(refused(16),
            "parallelism.tensor_parallel_degree: 16 does not divide what llama3 8B has: 8 "
            "key/value heads; choose a degree that divides them");
  EXPECT_THAT(refused(3),
              HasSubstr("has: 32 heads, 8 key/value heads, 14336 feed-forward channels;"));
  job.model.vocab_size = 5001;
  EXPECT_THAT(refused(2), HasSubstr("has: 5001 vocabulary entries;"));
}

TEST(FromJob, MicroBatchesAreCountedOverTheDataRanks) {
  JobConfig job;
  job.training.local_batch_size = 2;
  job.training.global_batch_size = 32;
  EXPECT_EQ(sharder_config(job).micro_batches, 16);
  EXPECT_EQ(sharder_config(job, {.dp_replicate = 2, .dp_shard = 4, .tp = 8}).micro_batches, 2);
}

TEST(FromJob, ModelTakesTheJobsOverrides) {
  JobConfig job;
  job.model.flavor = "8B";
  job.model.n_layers = 3;
  job.model.vocab_size = 500;
  job.training.seq_len = 1234;
  const DecoderConfig model = decoder_config(job);
  EXPECT_EQ(model.layers.size(), 3u);
  EXPECT_EQ(model.embedding.vocab_size, 500);
  EXPECT_EQ(model.max_seq_len, 1234);
  job.model.flavor = "8C";
  EXPECT_THAT(message_of<InputError>([&] { decoder_config(job); }), HasSubstr("8C"));
}

TEST(FromJob, PrecisionAndMicroBatches) {
  JobConfig job;
  job.training.local_batch_size = 4;
  SharderConfig sharding = sharder_config(job);
  EXPECT_EQ(sharding.parameter_dtype, at::kFloat);
  EXPECT_EQ(sharding.compute_dtype, at::kBFloat16);
  EXPECT_EQ(sharding.micro_batches, 1);
  EXPECT_EQ(sharding.moment_dtype(), at::kFloat);
  job.training.global_batch_size = 12;
  job.training.mixed_precision_param = config::Dtype::kFloat32;
  sharding = sharder_config(job);
  EXPECT_EQ(sharding.compute_dtype, at::kFloat);
  EXPECT_EQ(sharding.micro_batches, 3);
  job.optimizer.state_dtype = config::Dtype::kBfloat16;
  EXPECT_EQ(sharder_config(job).parameter_dtype, at::kFloat);
  EXPECT_EQ(sharder_config(job).moment_dtype(), at::kBFloat16);
}

TEST(FromJob, BlockGradientsAreWideWhereTheyAddUp) {
  const Unit block = TransformerBlock::declare(small_model({kNothing}).layers[0], "layers.0");
  const Unit head = Head::declare(small_model({kNothing}));
  const Parameter& norm = block.parameters[0];
  const Parameter& matrix = block.parameters[1];
  EXPECT_EQ(gradient_dtype(in_bf16(1), {}, block, matrix), at::kBFloat16);
  EXPECT_EQ(gradient_dtype(in_bf16(2), {}, block, matrix), at::kFloat);
  EXPECT_EQ(gradient_dtype(in_bf16(1), {}, block, norm), at::kFloat);
  EXPECT_EQ(gradient_dtype(in_bf16(1), {}, head, head.parameters[1]), at::kFloat);
  EXPECT_EQ(gradient_dtype(in_fp32(1), {}, block, matrix), at::kFloat);
  // Every micro-batch of a rank that has some of the rows writes a place of its own.
  EXPECT_EQ(gradient_dtype(in_bf16(2), {.dp_shard = 2}, block, matrix), at::kBFloat16);
  EXPECT_EQ(gradient_dtype(in_bf16(1), {.dp_replicate = 2}, block, matrix), at::kFloat);
  EXPECT_EQ(gradient_dtype(in_bf16(1), {.dp_shard = 2}, block, norm), at::kFloat);
  EXPECT_EQ(summed_gradient_dtype(in_bf16(1), {.dp_shard = 2}, block, matrix), at::kFloat);
  EXPECT_EQ(summed_gradient_dtype(in_bf16(1), {}, block, matrix), at::kBFloat16);
  EXPECT_EQ(gradient_dtype(in_bf16(1), {.tp = 2}, block, matrix), at::kBFloat16);
}

TEST(FromJob, ScheduleAndOptimizer) {
  JobConfig job;
  job.training.steps = 700;
  job.lr_scheduler.decay_type = config::DecayType::kCosine;
  job.lr_scheduler.min_lr_factor = 0.1;
  EXPECT_EQ(schedule(job).total_steps, 700);
  EXPECT_EQ(schedule(job).warmup_steps, 200);
  EXPECT_EQ(schedule(job).decay_ratio, std::nullopt);
  EXPECT_EQ(schedule(job).decay, optim::Decay::kCosine);
  EXPECT_EQ(schedule(job).min_factor, 0.1);
  job.lr_scheduler.total_steps = 900;
  EXPECT_EQ(schedule(job).total_steps, 900);

  job.optimizer.name = config::OptimizerName::kAdam;
  job.optimizer.beta2 = 0.99;
  job.training.max_norm = 2.5;
  const OptimizerConfig optimizer = optimizer_config(job);
  EXPECT_FALSE(optimizer.decoupled_weight_decay);
  EXPECT_EQ(optimizer.beta1, 0.9);
  EXPECT_EQ(optimizer.beta2, 0.99);
  EXPECT_EQ(optimizer.weight_decay, 0.1);
  EXPECT_EQ(optimizer.max_norm, 2.5);
}

TEST(FromJob, ValidationReadsItsOwnOptionsAndNamesThem) {
  JobConfig job;
  job.training.seq_len = 64;
  job.validation.seq_len = 32;
  job.validation.local_batch_size = 3;
  job.validation.dataset_path = "held_out.jsonl";
  const DecoderConfig model = decoder_config(job);
  DataConfig data = validation_data_config(job, model);
  EXPECT_EQ(data.dataset, "c4_validation");
  EXPECT_EQ(data.dataset_path, "held_out.jsonl");
  EXPECT_EQ(data.seq_len, 32);
  EXPECT_EQ(data.local_batch_size, 3);
  EXPECT_EQ(data.vocab_size, 2048);
  EXPECT_EQ(data.section, "validation");
  EXPECT_FALSE(data.endless);  // validation.steps = -1: the whole set, once
  job.validation.steps = 5;
  EXPECT_TRUE(validation_data_config(job, model).endless);

  data = training_data_config(job, model);
  EXPECT_EQ(data.seq_len, 64);
  EXPECT_EQ(data.section, "training");
  EXPECT_TRUE(data.endless);
}

}  // namespace
}  // namespace titan
