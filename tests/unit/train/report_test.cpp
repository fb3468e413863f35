// What is said of a job from its options alone.
#include "lib/train/report.hpp"

#include <chrono>

#include "lib/base/error.hpp"
#include "tests/unit/train/train_testing.hpp"

namespace titan {
namespace {

using testing::HasSubstr;

JobConfig job_of(const char* flavor, int64_t seq_len, int64_t batch = 1) {
  JobConfig job;
  job.model.flavor = flavor;
  job.training.seq_len = seq_len;
  job.training.local_batch_size = batch;
  return job;
}

TEST(JobPlan, FlopsPerTokenAreTorchtitans) {
  struct Case {
    const char* flavor;
    int64_t seq_len, flops;
  };
  for (const auto& [flavor, seq_len, flops] :
       {Case{"debugmodel", 2048, 71'585'280}, Case{"8B", 2048, 48'250'773'504},
        Case{"8B", 8192, 57'914'449'920}, Case{"70B", 8192, 481'442'709'504},
        Case{"405B", 8192, 2'625'449'459'712}}) {
    EXPECT_EQ(plan_job(job_of(flavor, seq_len)).flops_per_token, flops) << flavor << " " << seq_len;
  }
}

TEST(JobPlan, LargestModelsAreQuick) {
  for (const char* flavor : {"8B", "70B", "405B"}) {
    const auto start = std::chrono::steady_clock::now();
    const std::string json = to_json(plan_job(job_of(flavor, 8192))).dump();
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    EXPECT_LT(seconds.count(), 1) << flavor;
    EXPECT_GT(json.size(), 1000u);
  }
}

TEST(JobPlan, JsonHoldsTheTreeTheCountsAndTheTimeline) {
  JobConfig job = job_of("8B", 4096, 2);
  job.training.global_batch_size = 6;
  job.activation_checkpoint.mode = config::ActivationCheckpointMode::kFull;
  const nlohmann::ordered_json plan = to_json(plan_job(job));

  EXPECT_EQ(plan["model"]["name"], "llama3");
  EXPECT_EQ(plan["model"]["flavor"], "8B");
  EXPECT_EQ(plan["model"]["n_layers"], 32);
  EXPECT_EQ(plan["model"]["dim"], 4096);
  EXPECT_EQ(plan["model"]["vocab_size"], 128256);
  EXPECT_EQ(plan["parameters"], 8'030'261'248);
  EXPECT_EQ(plan["embedding_parameters"], 525'336'576);
  EXPECT_EQ(plan["micro_batches"], 3);
  EXPECT_EQ(plan["tokens_per_step_and_rank"], 3 * 2 * 4096);

  ASSERT_EQ(plan["linears"].size(), 32u * 7 + 1);
  const nlohmann::ordered_json expected = {
      {"name", "layers.0.attention.wk"}, {"K", 4096}, {"N", 1024}};
  EXPECT_EQ(plan["linears"][1], expected);
  EXPECT_EQ(plan["linears"].back()["name"], "output");

  const auto& memory = plan["memory"];
  EXPECT_EQ(memory["masters"], 4 * 8'030'261'248);
  EXPECT_EQ(memory["compute_copies"], 2 * 8'030'261'248);
  EXPECT_EQ(memory["moments"], 8 * 8'030'261'248);
  EXPECT_EQ(memory["gradients"], 4 * 8'030'261'248);  // fp32: three micro-batches add up
  EXPECT_EQ(memory["saved_activations"], 32LL * 2 * 4096 * 4096 * 2);
  int64_t highest = 0;
  for (const auto& moment : memory["timeline"])
    highest = std::max<int64_t>(highest, moment["bytes"]);
  EXPECT_EQ(memory["peak"]["bytes"], highest);
  EXPECT_EQ(memory["timeline"].back()["name"], "optimizer");
}

TEST(JobPlan, TextNamesTheSameNumbers) {
  const std::string text = describe(plan_job(job_of("70B", 8192)));
  for (const char* part :
       {"llama3 70B", "Parameters: 70,553,706,496 (embedding 1,050,673,152)",
        "FLOPs per token: 481,442,709,504", "Tokens per step and rank: 8,192 in 1 micro-batch",
        "weights, masters           262.83 GiB", "peak"}) {
    EXPECT_THAT(text, HasSubstr(part));
  }
}

TEST(JobPlan, ThousandsAreSeparated) {
  EXPECT_EQ(with_thousands(0), "0");
  EXPECT_EQ(with_thousands(999), "999");
  EXPECT_EQ(with_thousands(1000), "1,000");
  EXPECT_EQ(with_thousands(8030261248), "8,030,261,248");
}

TEST(Report, StartLinesAreInTorchtitansWords) {
  JobConfig job = job_of("8B", 4096, 2);
  job.job.description = "a run";
  job.training.global_batch_size = 6;
  job.training.steps = 1000;
  const JobPlan plan = plan_job(job);
  testing::internal::CaptureStdout();
  log_model(job, plan, "NVIDIA H200", "CUDA capacity: NVIDIA H200 with 139.81GiB memory");
  log_training_start(job, plan, 10);
  const std::string text = testing::internal::GetCapturedStdout();
  for (const char* line :
       {"Starting job: a run", "CUDA capacity: NVIDIA H200 with 139.81GiB memory",
        "Model llama3 8B size: 8,030,261,248 total parameters",
        "Peak FLOPS used for computing MFU: 9.890e+14",
        "Trainer is initialized with local batch size 2, global batch size 6, gradient "
        "accumulation "
        "steps 3, sequence length 4096, total steps 1000 (warmup 200)",
        "Training starts at step 11"}) {
    EXPECT_THAT(text, HasSubstr(line));
  }
}

}  // namespace
}  // namespace titan
