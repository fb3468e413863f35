#include "lib/train/report.hpp"

#include <array>

#include "lib/base/error.hpp"
#include "lib/base/log.hpp"
#include "lib/config/check.hpp"
#include "lib/metrics/flops.hpp"
#include "lib/parallel/peer_memory.hpp"
#include "lib/train/describe_model.hpp"
#include "lib/train/float8_measurements.hpp"
#include "lib/train/from_job.hpp"

namespace titan {
namespace {

// What a GPU leaves to the allocator, beside CUDA's own memory and NCCL's buffers.
struct Gpu {
  const char* name;
  int64_t bytes;
};
constexpr std::array kGpus = {Gpu{"80 GB", 77ll << 30}, Gpu{"141 GB", 137ll << 30}};

constexpr int64_t kGpusOfHost = 8;

}  // namespace

JobPlan plan_job(const JobConfig& job, const MeshShape& mesh, const MeasureGroup& measure) {
  JobPlan plan;
  plan.mesh = mesh;
  plan.model = decoder_config(job, mesh, &plan.conversions, measure);
  plan.parameters = count_parameters(plan.model);
  plan.flops_per_token = flops_per_token(flops_inputs(plan.model, job.training.seq_len));
  plan.micro_batches = config::gradient_accumulation_steps(job, mesh.data_ranks());
  plan.tokens_per_step = plan.micro_batches * job.training.local_batch_size * job.training.seq_len;
  const bool may_share = PeerMemory::forbidden().empty();
  const PlanConfig config{
      .batch = job.training.local_batch_size,
      .seq_len = job.training.seq_len,
      .sharder = sharder_config(job, mesh),
      .mesh = mesh,
      .async_tensor_parallel = job.parallelism.enable_async_tensor_parallel && may_share,
      .loss_parallel = !job.parallelism.disable_loss_parallel,
      .copies_shards = mesh.dp_shard * mesh.tp <= kGpusOfHost && may_share};
  plan.memory = plan_memory(plan.model, config);
  plan.traffic = plan_traffic(plan.model, config);
  return plan;
}

std::string with_thousands(int64_t value) {
  const std::string digits = std::to_string(value);
  std::string text;
  for (size_t i = 0; i < digits.size(); ++i) {
    if (i > 0 && (digits.size() - i) % 3 == 0) text += ',';
    text += digits[i];
  }
  return text;
}

nlohmann::ordered_json to_json(const ConversionReport& report) {
  nlohmann::ordered_json rows = nlohmann::ordered_json::array();
  for (const ConversionRow& row : report.rows) {
    rows.push_back({{"name", row.name},
                    {"group", row.group},
                    {"M", row.m},
                    {"K", row.k},
                    {"N", row.n},
                    {"own_K", row.own_k},
                    {"own_N", row.own_n},
                    {"float8", row.converted},
                    {"reason", row.reason}});
  }
  nlohmann::ordered_json measurements = nlohmann::ordered_json::array();
  for (const GroupMeasurement& measurement : report.measurements) {
    measurements.push_back(to_json(measurement));
  }
  return {{"converter", report.converter},
          {"converted", report.converted()},
          {"linears", rows},
          {"measurements", measurements},
          {"notes", report.notes},
          {"warnings", report.warnings}};
}

nlohmann::ordered_json to_json(const std::vector<ConversionReport>& reports) {
  nlohmann::ordered_json all = nlohmann::ordered_json::array();
  for (const ConversionReport& report : reports) all.push_back(to_json(report));
  return all;
}

namespace {

std::string describe(const MeshShape& mesh) {
  return concat("Mesh: ", with_thousands(mesh.size()), " ranks = ", mesh.dp_replicate,
                " dp_replicate x ", mesh.dp_shard, " dp_shard x ", mesh.tp, " tp");
}

std::string describe_tokens(const JobPlan& plan) {
  const std::string of_rank = with_thousands(plan.tokens_per_step);
  const std::string batches = concat(" in ", plan.micro_batches, " micro-batch(es)");
  if (plan.mesh.size() == 1) return concat("Tokens per step and rank: ", of_rank, batches);
  return concat("Tokens per step: ", with_thousands(plan.mesh.data_ranks() * plan.tokens_per_step),
                ", ", of_rank, " on each of ", plan.mesh.data_ranks(), " data ranks", batches);
}

}  // namespace

std::string describe_fit(const MemoryPlan& plan) {
  std::string holds, others;
  for (const Gpu& gpu : kGpus) {
    std::string& list = plan.peak.bytes <= gpu.bytes ? holds : others;
    list += concat(list.empty() ? "" : ", ", gpu.name);
  }
  if (others.empty()) return concat("Fits GPUs of ", holds);
  if (!holds.empty()) return concat("Fits GPUs of ", holds, "; not those of ", others);
  return concat("Warning: does not fit GPUs of ", others,
                "; use more ranks (parallelism.data_parallel_shard_degree, "
                "tensor_parallel_degree), a smaller training.local_batch_size, or "
                "activation_checkpoint.mode full");
}

std::string describe(const JobPlan& plan) {
  std::string text = describe(plan.model);
  if (plan.mesh.size() > 1) text += describe(plan.mesh) + "\n";
  text += concat("Parameters: ", with_thousands(plan.parameters.total), " (embedding ",
                 with_thousands(plan.parameters.embedding), ")\n",
                 "FLOPs per token: ", with_thousands(plan.flops_per_token), "\n",
                 describe_tokens(plan), "\n");
  for (const ConversionReport& report : plan.conversions) text += report.table() + "\n";
  text += describe(plan.memory);
  if (!plan.traffic.empty()) text += "\n" + describe(plan.traffic);
  return text + "\n" + describe_fit(plan.memory);
}

nlohmann::ordered_json to_json(const JobPlan& plan) {
  nlohmann::ordered_json linears = nlohmann::ordered_json::array();
  DecoderConfig model = plan.model;
  for_each_linear(model, [&](const std::string& name, LinearConfig& linear, LinearGroup&) {
    linears.push_back({{"name", name}, {"K", linear.in_features}, {"N", linear.out_features}});
  });
  nlohmann::ordered_json timeline = nlohmann::ordered_json::array();
  for (const MemoryMoment& moment : plan.memory.timeline) {
    timeline.push_back({{"name", moment.name}, {"bytes", moment.bytes}});
  }
  nlohmann::ordered_json traffic = nlohmann::ordered_json::array();
  for (const Traffic& each : plan.traffic) {
    traffic.push_back({{"axis", each.axis},
                       {"collective", each.collective},
                       {"what", each.what},
                       {"bytes", each.bytes}});
  }
  nlohmann::ordered_json fits;
  for (const Gpu& gpu : kGpus) fits[gpu.name] = plan.memory.peak.bytes <= gpu.bytes;
  return {{"model", describe_model(plan.model).to_json()},
          {"mesh",
           {{"ranks", plan.mesh.size()},
            {"dp_replicate", plan.mesh.dp_replicate},
            {"dp_shard", plan.mesh.dp_shard},
            {"tp", plan.mesh.tp}}},
          {"parameters", plan.parameters.total},
          {"embedding_parameters", plan.parameters.embedding},
          {"flops_per_token", plan.flops_per_token},
          {"micro_batches", plan.micro_batches},
          {"tokens_per_step_and_rank", plan.tokens_per_step},
          {"tokens_per_step", plan.mesh.data_ranks() * plan.tokens_per_step},
          {"linears", linears},
          {"conversions", to_json(plan.conversions)},
          {"memory",
           {{"masters", plan.memory.masters},
            {"compute_copies", plan.memory.compute_copies},
            {"float8_copies", plan.memory.float8_copies},
            {"moments", plan.memory.moments},
            {"workspace", plan.memory.workspace},
            {"gathered_weights", plan.memory.gathered_weights},
            {"saved_activations", plan.memory.saved_activations},
            {"gradients", plan.memory.gradients},
            {"gradients_in_reduction", plan.memory.gradients_in_reduction},
            {"timeline", timeline},
            {"peak", {{"name", plan.memory.peak.name}, {"bytes", plan.memory.peak.bytes}}},
            {"fits", fits}}},
          {"traffic", traffic}};
}

void log_model(const JobConfig& job, const JobPlan& plan, const std::string& device_name,
               const std::string& capacity_line) {
  log::info(concat("Starting job: ", job.job.description));
  log::info(capacity_line);
  log::info(concat("Model ", plan.model.name, " ", plan.model.flavor,
                   " size: ", with_thousands(plan.parameters.total), " total parameters"));
  if (plan.mesh.size() > 1) log::info(describe(plan.mesh));
  log::info(peak_flops_line(peak_flops(device_name)));
  if (!plan.conversions.empty() && !job.quantize.linear.float8.recipe_name) {
    log::info(
        "quantize.linear.float8.recipe_name is not set: rowwise (torchtitan v0.2.2 meant "
        "tensorwise)");
  }
  for (const ConversionReport& report : plan.conversions) {
    log::info(report.table());
    for (const std::string& warning : report.warnings) log::warning(warning);
  }
  if (job.model.print_after_conversion) log::info(describe(plan.model));
  log::info(describe(plan.memory));
}

void log_training_start(const JobConfig& job, const JobPlan& plan, int64_t completed_steps) {
  log::info(concat("Trainer is initialized with local batch size ", job.training.local_batch_size,
                   ", global batch size ",
                   job.training.local_batch_size * plan.micro_batches * plan.mesh.data_ranks(),
                   ", gradient accumulation steps ", plan.micro_batches, ", sequence length ",
                   job.training.seq_len, ", total steps ", job.training.steps, " (warmup ",
                   job.lr_scheduler.warmup_steps, ")"));
  log::info(concat("Training starts at step ", completed_steps + 1));
}

}  // namespace titan
