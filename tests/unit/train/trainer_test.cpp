// Whole runs of the trainer, in this process and on the CPU: what must come out the same, and how a
// run that diverges ends.
#include "lib/train/trainer.hpp"

#include <unistd.h>

#include <cmath>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "lib/base/error.hpp"
#include "lib/base/file.hpp"
#include "lib/checkpoint/checkpoint_reader.hpp"
#include "tests/unit/train/train_testing.hpp"

namespace titan {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class TrainerTest : public testing::Test {
 protected:
  TrainerTest() : folder_(fs::temp_directory_path() / concat("titan_train_test.", ::getpid())) {
    fs::create_directories(folder_);
    write_tokens("train.bin", 20'000, 1);
    write_tokens("held_out.bin", 2'000, 2);
  }
  ~TrainerTest() override { fs::remove_all(folder_); }

  // Ids that a model can learn something of: each is often followed by its double.
  void write_tokens(const char* name, size_t count, uint32_t state) {
    std::vector<uint16_t> ids(count, 1);
    for (size_t i = 1; i < count; ++i) {
      state = state * 1664525 + 1013904223;
      ids[i] = static_cast<uint16_t>((state >> 28 < 12 ? 2u * ids[i - 1] : state >> 16) % kVocab);
    }
    std::ofstream(folder_ / name, std::ios::binary)
        .write(reinterpret_cast<const char*>(ids.data()), static_cast<std::streamsize>(2 * count));
  }

  // One small layer, 20 steps, a checkpoint after every 10.
  JobConfig job(const std::string& dump_folder) const {
    JobConfig job;
    job.job.dump_folder = folder_ / dump_folder;
    job.model.hf_assets_path = folder_ / "no_tokenizer";
    job.model.n_layers = 1;
    job.model.vocab_size = kVocab;
    job.training.dataset_path = folder_ / "train.bin";
    job.training.seq_len = 32;
    job.training.local_batch_size = 2;
    job.training.steps = 20;
    job.training.mixed_precision_param = config::Dtype::kFloat32;
    job.optimizer.lr = 5e-3;
    job.lr_scheduler.warmup_steps = 3;
    job.lr_scheduler.total_steps = 20;
    job.metrics.log_freq = 1;
    job.checkpoint.enable = true;
    job.checkpoint.interval = 10;
    job.checkpoint.last_save_model_only = false;
    job.debug.seed = 3;
    return job;
  }

  // Returns what was logged.
  static std::string run(const JobConfig& job) {
    testing::internal::CaptureStdout();
    try {
      World world;
      Trainer trainer(job, ops::Device::cpu(), world);
      EXPECT_FALSE(trainer.started());
      trainer.run();
    } catch (...) {
      std::fputs(testing::internal::GetCapturedStdout().c_str(), stderr);
      throw;
    }
    return testing::internal::GetCapturedStdout();
  }

  fs::path checkpoint(const JobConfig& job, int64_t step) const {
    return fs::path(job.job.dump_folder) / "checkpoint" / concat("step-", step);
  }

  fs::path folder_;
};

// Losses by step; a step that was taken twice counts as it was taken last.
std::map<int64_t, double> losses(const JobConfig& job, const char* kind = "step",
                                 const char* key = "global_avg_loss") {
  std::map<int64_t, double> found;
  std::ifstream lines(fs::path(job.job.dump_folder) / "metrics.jsonl");
  for (std::string line; std::getline(lines, line);) {
    const nlohmann::json record = nlohmann::json::parse(line);
    if (record["kind"] != kind) continue;
    found[record["step"]] = record[key].is_null() ? NAN : record[key].get<double>();
  }
  return found;
}

// The bytes of every tensor file of a checkpoint: weights and optimizer state.
std::map<std::string, std::string> tensor_files(const fs::path& checkpoint) {
  std::map<std::string, std::string> files;
  for (const char* part : {"model", "optim"}) {
    for (const auto& entry : fs::directory_iterator(checkpoint / part)) {
      files[part + entry.path().filename().string()] = read_file(entry.path());
    }
  }
  return files;
}

std::vector<float> weights(const CheckpointReader& reader, const std::string& name) {
  const Shape shape = reader.model().tensors().at(name).shape;
  int64_t size = 1;
  for (int64_t extent : shape) size *= extent;
  std::vector<float> values(static_cast<size_t>(size));
  read_as_float32(reader.model(), name, {Shape(shape.size(), 0), shape}, values);
  return values;
}

TEST_F(TrainerTest, TheSameSeedGivesTheSameBits) {
  const JobConfig one = job("one"), again = job("again");
  JobConfig other = job("other");
  other.debug.seed = 4;
  for (const JobConfig& each : {one, again, other}) run(each);
  EXPECT_EQ(losses(one).size(), 20u);
  EXPECT_EQ(losses(one), losses(again));
  EXPECT_EQ(tensor_files(checkpoint(one, 20)), tensor_files(checkpoint(again, 20)));
  EXPECT_EQ(tensor_files(checkpoint(one, 20)).size(), 2u);
  EXPECT_NE(losses(one), losses(other));
  EXPECT_LT(losses(one)[20], losses(one)[1] - 0.5);
}

struct Variant {
  const char* name;
  void (*apply)(JobConfig&);
};
std::ostream& operator<<(std::ostream& out, const Variant& variant) { return out << variant.name; }

class TrainerResume : public TrainerTest, public testing::WithParamInterface<Variant> {};
INSTANTIATE_TEST_SUITE_P(
    , TrainerResume,
    testing::Values(Variant{"Plain", [](JobConfig&) {}},
                    Variant{"Accumulation",
                            [](JobConfig& job) { job.training.global_batch_size = 4; }},
                    Variant{"Float8",
                            [](JobConfig& job) {
                              job.model.converters = {"quantize.linear.float8"};
                              job.quantize.linear.float8.emulate = true;
                            }},
                    Variant{"RoundedInTheBackground",
                            [](JobConfig& job) {
                              job.training.mixed_precision_param = config::Dtype::kBfloat16;
                              job.checkpoint.async_mode = config::AsyncMode::kAsync;
                            }}),
    [](const auto& info) { return info.param.name; });

TEST_P(TrainerResume, TenAndTenEqualTwentyInEveryBit) {
  JobConfig straight = job("straight"), parts = job("parts");
  GetParam().apply(straight);
  GetParam().apply(parts);
  run(straight);
  parts.training.steps = 10;
  run(parts);
  parts.training.steps = 20;
  EXPECT_THAT(run(parts), HasSubstr("resumed from step 10"));
  EXPECT_EQ(losses(parts), losses(straight));
  EXPECT_EQ(tensor_files(checkpoint(parts, 20)), tensor_files(checkpoint(straight, 20)));
}

TEST_F(TrainerTest, RecomputingAndValidatingLeaveTheRunAsItWas) {
  const JobConfig plain = job("plain");
  JobConfig other = job("other");
  other.activation_checkpoint.mode = config::ActivationCheckpointMode::kFull;
  other.validation.enable = true;
  other.validation.dataset_path = folder_ / "held_out.bin";
  other.validation.seq_len = 48;
  other.validation.freq = 5;
  run(plain);
  run(other);
  EXPECT_EQ(losses(plain), losses(other));
  EXPECT_EQ(tensor_files(checkpoint(plain, 20)), tensor_files(checkpoint(other, 20)));

  std::map<int64_t, double> validation = losses(other, "validation", "loss");
  ASSERT_EQ(validation.size(), 5u);  // after step 1 and every fifth
  EXPECT_NEAR(validation[1], std::log(kVocab), 1);
  EXPECT_LT(validation[20], validation[1] - 0.3);
}

TEST_F(TrainerTest, AFinishedRunHasNothingToDo) {
  const JobConfig finished = job("finished");
  run(finished);
  const auto files = tensor_files(checkpoint(finished, 20));
  EXPECT_THAT(run(finished), HasSubstr("resumed from step 20"));
  EXPECT_EQ(losses(finished).size(), 20u);
  EXPECT_EQ(tensor_files(checkpoint(finished, 20)), files);
}

TEST_F(TrainerTest, InitialWeightsStartANewRun) {
  const JobConfig first = job("first");
  run(first);
  JobConfig second = job("second");
  second.checkpoint.initial_load_path = checkpoint(first, 20);
  second.debug.seed = 99;
  run(second);
  EXPECT_EQ(losses(second).size(), 20u);                 // from step 1
  EXPECT_LT(losses(second)[1], losses(first)[1] - 0.5);  // but not from random weights
}

TEST_F(TrainerTest, TenNonFiniteStepsInARowEndTheRun) {
  JobConfig diverging = job("diverging");
  diverging.optimizer.lr = 1e30;
  diverging.lr_scheduler.warmup_steps = 0;
  diverging.checkpoint.interval = 1;
  diverging.checkpoint.keep_latest_k = 0;
  testing::internal::CaptureStdout();
  World world;
  Trainer trainer(diverging, ops::Device::cpu(), world);
  const std::string message = message_of<Error>([&] { trainer.run(); });
  const std::string log = testing::internal::GetCapturedStdout();
  EXPECT_TRUE(trainer.started());
  // The first step is finite and throws the weights far away; those from the second on are not.
  EXPECT_THAT(message, HasSubstr("10 steps in a row (2 to 11)"));
  for (int step = 2; step <= 11; ++step) {
    EXPECT_THAT(log, HasSubstr(concat("step ", step, ": loss ")));
  }
  EXPECT_THAT(log, HasSubstr("is not finite: the update was skipped"));
  EXPECT_THAT(log, testing::Not(HasSubstr("step 1: loss")));

  for (int64_t step = 1; step <= 10; ++step) {
    SCOPED_TRACE(step);
    const CheckpointReader reader(checkpoint(diverging, step));
    EXPECT_EQ(reader.manifest().state["optimizer_updates"], 1);
    for (const auto& [name, info] : reader.model().tensors()) {
      for (float value : weights(reader, name)) ASSERT_TRUE(std::isfinite(value)) << name;
    }
  }
}

}  // namespace
}  // namespace titan
