// The option tables, one function per top-level section; schema.cpp joins them.
#pragma once

#include <vector>

#include "lib/config/schema.hpp"

namespace titan::config {

// Conditions that several tables ask for: which converters a job applies.
bool linears_in_float8(const JobConfig& job, std::int64_t world_size);
bool experts_in_float8(const JobConfig& job, std::int64_t world_size);
bool anything_in_mx(const JobConfig& job, std::int64_t world_size);

std::vector<Option> job_options();
std::vector<Option> profiling_options();
std::vector<Option> metrics_options();
std::vector<Option> model_options();
std::vector<Option> optimizer_options();
std::vector<Option> lr_scheduler_options();
std::vector<Option> training_options();
std::vector<Option> parallelism_options();
std::vector<Option> checkpoint_options();
std::vector<Option> activation_checkpoint_options();
std::vector<Option> compile_options();
std::vector<Option> quantize_options();
std::vector<Option> comm_options();
std::vector<Option> foreign_options();  // memory_estimation, fault_tolerance, experimental
std::vector<Option> validation_options();
std::vector<Option> debug_options();

}  // namespace titan::config
