// What a run says about itself before the first step, and what --dry_run says without running.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "lib/config/job_config.hpp"
#include "lib/model/converter.hpp"
#include "lib/model/decoder_config.hpp"
#include "lib/parallel/mesh.hpp"
#include "lib/train/memory_plan.hpp"
#include "lib/train/traffic_plan.hpp"

namespace titan {

// Everything that is known of a job from its options and mesh alone.
struct JobPlan {
  MeshShape mesh;
  DecoderConfig model;
  std::vector<ConversionReport> conversions;
  ParameterCount parameters;
  int64_t flops_per_token = 0;
  int64_t micro_batches = 0;
  int64_t tokens_per_step = 0;  // of a data rank
  MemoryPlan memory;
  std::vector<Traffic> traffic;
};
// `measure`: as for decoder_config().
JobPlan plan_job(const JobConfig& job, const MeshShape& mesh = {},
                 const MeasureGroup& measure = {});

std::string describe(const JobPlan& plan);
// Which GPUs hold the planned peak, or a warning that none does.
std::string describe_fit(const MemoryPlan& plan);
nlohmann::ordered_json to_json(const JobPlan& plan);
nlohmann::ordered_json to_json(const std::vector<ConversionReport>& reports);

// Start-up lines, the ones that log parsers look for in torchtitan's words.
void log_model(const JobConfig& job, const JobPlan& plan, const std::string& device_name,
               const std::string& capacity_line);
void log_training_start(const JobConfig& job, const JobPlan& plan, int64_t completed_steps);

// 8030261248 -> "8,030,261,248"
std::string with_thousands(int64_t value);

}  // namespace titan
