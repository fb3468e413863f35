#include "lib/config/check.hpp"

#include <algorithm>
#include <cmath>
#include <map>

#include "lib/base/error.hpp"
#include "lib/config/value.hpp"

namespace titan::config {

namespace {

// Collects "place: text" lines.
class Problems {
 public:
  explicit Problems(const Origins& origins) : origins_(origins) {}

  // `path` is the option to look at first.
  void add(std::string_view path, std::string_view text) {
    const auto origin = origins_.find(path);
    if (!message_.empty()) message_ += "\n";
    if (origin != origins_.end()) message_ += origin->second + ": ";
    message_ += concat(path, ": ", text);
  }

  void throw_any() const {
    if (!message_.empty()) throw InputError(message_);
  }

 private:
  const Origins& origins_;
  std::string message_;
};

std::string refusal(const Option& option, const Value& value, Support support,
                    std::string_view remedy) {
  std::string text = to_toml_literal(value);
  text += support == Support::kLater ? " is not supported yet; " : " has no meaning here; ";
  if (!remedy.empty()) return text + std::string(remedy);
  return text + concat("set it to ", to_toml_literal(option.default_value()), ", the default");
}

// All of the mesh but the shards.
std::int64_t ranks_per_shard(const Parallelism& p) {
  return p.data_parallel_replicate_degree * p.tensor_parallel_degree * p.context_parallel_degree *
         p.pipeline_parallel_degree;
}

// 0 where the other degrees leave no rank.
std::int64_t shards(const Parallelism& p, std::int64_t world_size) {
  return p.data_parallel_shard_degree == -1 ? world_size / ranks_per_shard(p)
                                            : p.data_parallel_shard_degree;
}

// What is wrong with the degrees, or "".
std::string misfit(const Parallelism& p, std::int64_t world_size) {
  if (p.data_parallel_shard_degree == 0) return "must be -1 or at least 1, got 0";
  const std::int64_t product = shards(p, world_size) * ranks_per_shard(p);
  if (product == world_size) return "";
  return concat("the degrees do not make up the ", world_size, world_size == 1 ? " rank" : " ranks",
                ": data_parallel_replicate ", p.data_parallel_replicate_degree,
                ", data_parallel_shard ", p.data_parallel_shard_degree, ", tensor_parallel ",
                p.tensor_parallel_degree, ", context_parallel ", p.context_parallel_degree,
                ", pipeline_parallel ", p.pipeline_parallel_degree, "; ",
                p.data_parallel_shard_degree == -1
                    ? concat("start a multiple of ", ranks_per_shard(p), " processes")
                    : concat("start ", product, " processes"),
                ", or change the degrees");
}

// Of degrees that do not fit, one that the job sets.
std::string_view misfit_option(const Parallelism& p) {
  if (p.data_parallel_shard_degree != -1) return "parallelism.data_parallel_shard_degree";
  if (p.tensor_parallel_degree > 1) return "parallelism.tensor_parallel_degree";
  return "parallelism.data_parallel_replicate_degree";
}

// Sequence parallel gives each rank of a tensor-parallel group the same number of tokens; head-tail
// balanced context parallel cuts each sequence into 2 cp parts.
void check_tokens(const Parallelism& p, std::string_view section, std::int64_t batch,
                  std::int64_t seq_len, Problems& problems) {
  const std::int64_t tp = p.tensor_parallel_degree, cp = p.context_parallel_degree;
  if (batch * seq_len % tp != 0) {
    problems.add(concat(section, ".seq_len"), concat("the ", batch, " x ", seq_len,
                                                     " tokens of a micro-batch are not a multiple "
                                                     "of parallelism.tensor_parallel_degree = ",
                                                     tp));
  }
  if (cp > 1 && seq_len % (tp * 2 * cp) != 0) {
    problems.add(concat(section, ".seq_len"), concat(seq_len, " is not a multiple of ", tp * 2 * cp,
                                                     ", the parts that each sequence is cut into"));
  }
}

void check_mesh(const JobConfig& job, std::int64_t world_size, Problems& problems) {
  const Parallelism& p = job.parallelism;
  const std::string wrong = misfit(p, world_size);
  if (!wrong.empty()) problems.add(misfit_option(p), wrong);
  check_tokens(p, "training", job.training.local_batch_size, job.training.seq_len, problems);
  if (job.validation.enable) {
    check_tokens(p, "validation", job.validation.local_batch_size, job.validation.seq_len,
                 problems);
  }
}

void check_batch(const JobConfig& job, std::int64_t world_size, Problems& problems) {
  const Parallelism& p = job.parallelism;
  if (!misfit(p, world_size).empty()) return;  // the data ranks are not known
  const std::int64_t global = job.training.global_batch_size;
  const std::int64_t data_ranks = p.data_parallel_replicate_degree * shards(p, world_size);
  const std::int64_t micro_step = job.training.local_batch_size * data_ranks;
  if (global < 0 || (global > 0 && global % micro_step == 0)) return;
  problems.add("training.global_batch_size",
               concat("must be a positive multiple of training.local_batch_size x data-parallel "
                      "ranks = ",
                      job.training.local_batch_size, " x ", data_ranks, " = ", micro_step, ", got ",
                      global, "; a negative number stands for exactly that"));
}

void check_checkpoint(const Checkpoint& checkpoint, Problems& problems) {
  if (checkpoint.keep_latest_k == 1) {
    problems.add("checkpoint.keep_latest_k",
                 "1 would delete the only good checkpoint while the next is written; use 2 or "
                 "more, or 0 to keep all");
  }
  if (checkpoint.initial_load_in_hf && !checkpoint.initial_load_model_only) {
    problems.add("checkpoint.initial_load_in_hf",
                 "a Hugging Face folder holds only weights; keep "
                 "checkpoint.initial_load_model_only = true");
  }
  if (checkpoint.initial_load_in_hf_quantized && !checkpoint.initial_load_in_hf) {
    problems.add("checkpoint.initial_load_in_hf_quantized",
                 "needs checkpoint.initial_load_in_hf = true");
  }
  if (checkpoint.last_save_in_hf && !checkpoint.last_save_model_only) {
    problems.add("checkpoint.last_save_in_hf",
                 "a Hugging Face folder holds only weights; keep "
                 "checkpoint.last_save_model_only = true");
  }
}

// A line for every converter that model.converters does not list while its options are set.
std::vector<std::string> unused_converter_options(const JobConfig& job) {
  const JobConfig defaults;
  std::map<std::string_view, std::string> unused;  // by converter, whose name is the section's
  for (const Option& option : options()) {
    const std::string_view converter = option.section();
    if (!converter.starts_with("quantize.") || option.support == Support::kIgnored) continue;
    if (option.get(job) == option.get(defaults)) continue;
    if (std::ranges::find(job.model.converters, converter) != job.model.converters.end()) continue;
    std::string& names = unused[converter];
    names += concat(names.empty() ? "" : ", ", option.path);
  }
  std::vector<std::string> warnings;
  for (const auto& [converter, names] : unused) {
    warnings.push_back(
        concat("model.converters does not list ", converter, ", so these have no effect: ", names));
  }
  return warnings;
}

void check_rest(const JobConfig& job, Problems& problems) {
  const Profiling& profiling = job.profiling;
  const std::int64_t used = profiling.profiler_active + profiling.profiler_warmup;
  if (profiling.enable_profiling && profiling.profile_freq < used) {
    problems.add("profiling.profile_freq",
                 concat("must be at least profiler_active + profiler_warmup = ", used, ", got ",
                        profiling.profile_freq));
  }
  const std::string& every = job.activation_checkpoint.selective_ac_option;
  const bool digits = !every.empty() && every.size() < 10 &&
                      std::ranges::all_of(every, [](char c) { return c >= '0' && c <= '9'; });
  if (every != "op" && !digits) {
    problems.add("activation_checkpoint.selective_ac_option",
                 concat("expected \"op\" or a number of layers such as \"2\", got ",
                        to_toml_literal(every)));
  }
  if (job.validation.steps == 0) {
    problems.add("validation.steps", "must be positive, or -1 for the whole data, got 0");
  }
}

}  // namespace

std::string check_supported(const JobConfig& job, std::int64_t world_size, const Origins& origins) {
  Problems problems(origins);
  const JobConfig defaults;
  std::string ignored;
  for (const Option& option : options()) {
    const Value value = option.get(job);
    for (const Limit& limit : option.limits) {
      if (limit.support == Support::kCore || !limit.asked(job, world_size)) continue;
      problems.add(option.path, refusal(option, value, limit.support, limit.remedy));
    }
    if (option.support == Support::kCore || !option.only_with_option.empty()) continue;
    if (value == option.get(defaults)) continue;
    if (option.asked != nullptr && !option.asked(job, world_size)) continue;
    if (option.support == Support::kIgnored) {
      ignored += concat(ignored.empty() ? "without effect in this program: " : ", ", option.path,
                        " = ", to_toml_literal(value));
    } else {
      problems.add(option.path, refusal(option, value, option.support, option.remedy));
    }
  }
  problems.throw_any();
  return ignored;
}

std::vector<std::string> check_consistent(const JobConfig& job, std::int64_t world_size,
                                          const Origins& origins) {
  Problems problems(origins);
  check_mesh(job, world_size, problems);
  check_batch(job, world_size, problems);
  if (job.checkpoint.enable) check_checkpoint(job.checkpoint, problems);
  check_rest(job, problems);
  problems.throw_any();

  std::vector<std::string> warnings = unused_converter_options(job);
  if (job.parallelism.tensor_parallel_degree == 1) {
    const auto needs_tp = [&](std::string_view option, bool set) {
      if (set) warnings.push_back(concat(option, " has no effect without tensor parallel"));
    };
    needs_tp("parallelism.enable_async_tensor_parallel",
             job.parallelism.enable_async_tensor_parallel);
    needs_tp("parallelism.disable_loss_parallel", job.parallelism.disable_loss_parallel);
  }
  const LrScheduler& schedule = job.lr_scheduler;
  const std::int64_t total = schedule.total_steps.value_or(job.training.steps);
  const std::int64_t warmup = std::min(schedule.warmup_steps, total);
  if (schedule.warmup_steps > total) {
    warnings.push_back(concat("lr_scheduler.warmup_steps = ", schedule.warmup_steps,
                              " is cut to the schedule's ", total, " steps"));
  }
  const double decay = static_cast<double>(total) * schedule.decay_ratio.value_or(0);
  if (warmup + std::llrint(decay) > total) {
    warnings.push_back(concat("lr_scheduler.decay_ratio = ", *schedule.decay_ratio, " of ", total,
                              " steps is cut to the ", total - warmup, " after the warm-up"));
  }
  return warnings;
}

Degrees degrees(const JobConfig& job, std::int64_t world_size) {
  const Parallelism& p = job.parallelism;
  const std::string wrong = misfit(p, world_size);
  if (!wrong.empty()) throw InputError(concat(misfit_option(p), ": ", wrong));
  return {p.data_parallel_replicate_degree, shards(p, world_size), p.tensor_parallel_degree};
}

std::int64_t smallest_world_size(const JobConfig& job) {
  const Parallelism& p = job.parallelism;
  return ranks_per_shard(p) * std::max<std::int64_t>(1, p.data_parallel_shard_degree);
}

std::int64_t gradient_accumulation_steps(const JobConfig& job, std::int64_t data_parallel_degree) {
  const Training& training = job.training;
  if (training.global_batch_size < 0) return 1;
  const std::int64_t micro_step = training.local_batch_size * data_parallel_degree;
  TITAN_CHECK(micro_step > 0 && training.global_batch_size % micro_step == 0, "global batch ",
              training.global_batch_size, " is no multiple of ", micro_step);
  return training.global_batch_size / micro_step;
}

}  // namespace titan::config
