// From the job file's options to the small configs of the parts below: the one place where option
// names meet the library. Throws InputError with the option's name where a value does not fit.
#pragma once

#include "lib/config/job_config.hpp"
#include "lib/data/data_loader.hpp"
#include "lib/metrics/flops.hpp"
#include "lib/metrics/memory_snapshot.hpp"
#include "lib/metrics/metrics_logger.hpp"
#include "lib/metrics/profiler.hpp"
#include "lib/model/converter.hpp"
#include "lib/model/decoder_config.hpp"
#include "lib/optim/optimizer.hpp"
#include "lib/optim/schedule.hpp"
#include "lib/parallel/mesh.hpp"
#include "lib/parallel/sharder.hpp"

namespace titan {

// [parallelism] on so many ranks. Throws InputError when the degrees do not multiply to them.
MeshShape mesh_shape(const JobConfig& job, int64_t world_size);

// The model's tree with the job's overrides, recompute policy and converters applied. Throws
// InputError when tensor parallel cannot split the model evenly. Appends what each converter did to
// `reports`, where given. `measure` is for auto_filter_measured.
DecoderConfig decoder_config(const JobConfig& job, const MeshShape& mesh = {},
                             std::vector<ConversionReport>* reports = nullptr,
                             const MeasureGroup& measure = {});

Float8Recipe float8_recipe(const JobConfig& job);
SharderConfig sharder_config(const JobConfig& job, const MeshShape& mesh = {});
optim::Schedule schedule(const JobConfig& job);
DataConfig training_data_config(const JobConfig& job, const DecoderConfig& model);
DataConfig validation_data_config(const JobConfig& job, const DecoderConfig& model);
OptimizerConfig optimizer_config(const JobConfig& job);
MetricsLogger::Config metrics_config(const JobConfig& job, int rank = 0);
Profiler::Config profiler_config(const JobConfig& job, bool cuda, int rank = 0);
MemorySnapshots::Config snapshot_config(const JobConfig& job, int cuda_device, int rank = 0);
FlopsInputs flops_inputs(const DecoderConfig& model, int64_t seq_len);

}  // namespace titan
