// Joins the option tables and finds options in them.
#include "lib/config/schema.hpp"

#include <set>
#include <utility>

#include "lib/config/option_tables.hpp"

namespace titan::config {

Option Option::at_least(double low) && {
  range.low = low;
  return std::move(*this);
}

Option Option::above(double low) && {
  range = {.low = low, .high = std::numeric_limits<double>::infinity(), .open_low = true};
  return std::move(*this);
}

Option Option::between(double low, double high) && {
  range = {.low = low, .high = high};
  return std::move(*this);
}

Option Option::below_one() && {
  range = {.low = 0, .high = 1, .open_high = true};
  return std::move(*this);
}

Option Option::one_of(std::initializer_list<std::string_view> allowed) && {
  words = allowed;
  return std::move(*this);
}

Option Option::formerly(std::initializer_list<std::string_view> names) && {
  old_names = names;
  return std::move(*this);
}

Option Option::or_string() && {
  comma_string = true;
  return std::move(*this);
}

Option Option::ours() && {
  own = true;
  return std::move(*this);
}

Option Option::when(Condition condition) && {
  asked = condition;
  return std::move(*this);
}

Option Option::only_with(std::string_view feature_option) && {
  only_with_option = feature_option;
  return std::move(*this);
}

Option Option::instead(std::string_view what_to_do) && {
  remedy = what_to_do;
  return std::move(*this);
}

Option Option::limit(Support of, std::string_view values, Condition condition,
                     std::string_view what_to_do) && {
  limits.push_back({of, values, condition, what_to_do});
  return std::move(*this);
}

const std::vector<Option>& options() {
  static const std::vector<Option> all = [] {
    std::vector<Option> joined;
    for (auto* table :
         {job_options, profiling_options, metrics_options, model_options, optimizer_options,
          lr_scheduler_options, training_options, parallelism_options, checkpoint_options,
          activation_checkpoint_options, compile_options, quantize_options, comm_options,
          foreign_options, validation_options, debug_options}) {
      for (Option& option : table()) joined.push_back(std::move(option));
    }
    return joined;
  }();
  return all;
}

const std::vector<DroppedOption>& dropped_options() {
  static const std::vector<DroppedOption> all = {
      {"job.use_for_integration_test", Type::kBool, "it marked torchtitan's own tests"},
      {"parallelism.enable_compiled_autograd", Type::kBool, "nothing is compiled here"},
      {"parallelism.pipeline_parallel_split_points", Type::kList,
       "use parallelism.module_fqns_per_model_part"},
      {"fault_tolerance.sync_steps", Type::kInt, "a part of TorchFT"},
      {"fault_tolerance.should_quantize", Type::kBool, "a part of TorchFT"},
      {"fault_tolerance.fragment_sync_delay", Type::kInt, "a part of TorchFT"},
      {"fault_tolerance.fragment_update_alpha", Type::kFloat, "a part of TorchFT"},
      {"float8.force_recompute_fp8_weight_in_bwd", Type::kBool, "it never had an effect"},
      {"mx.use_fp8_dim1_cast_triton_kernel", Type::kBool, "it chose a kernel of torchao"},
  };
  return all;
}

namespace {

struct Index {
  std::map<std::string_view, const Option*> present;
  std::map<std::string_view, const Option*> any_spelling;
  std::map<std::string_view, const DroppedOption*> dropped;
  std::set<std::string_view> sections;

  Index() {
    for (const Option& option : options()) {
      present[option.path] = any_spelling[option.path] = &option;
      add_sections(option.path);
      for (std::string_view old : option.old_names) {
        any_spelling[old] = &option;
        add_sections(old);
      }
    }
    for (const DroppedOption& option : dropped_options()) {
      dropped[option.path] = &option;
      add_sections(option.path);
    }
  }

  void add_sections(std::string_view path) {
    for (auto dot = path.rfind('.'); dot != path.npos; dot = path.rfind('.')) {
      path = path.substr(0, dot);
      sections.insert(path);
    }
  }
};

const Index& index() {
  static const Index built;
  return built;
}

template <class Map>
auto look_up(const Map& map, std::string_view path) {
  const auto found = map.find(path);
  return found == map.end() ? nullptr : found->second;
}

}  // namespace

const Option* find_option(std::string_view path) { return look_up(index().present, path); }

const Option* find_any_spelling(std::string_view path) {
  return look_up(index().any_spelling, path);
}

const DroppedOption* find_dropped(std::string_view path) { return look_up(index().dropped, path); }

bool is_section(std::string_view path) { return index().sections.contains(path); }

std::string_view section_doc(std::string_view section) {
  static const std::map<std::string_view, std::string_view> docs = {
      {"job", "The job as a whole"},
      {"profiling", "Profiler traces and memory snapshots"},
      {"metrics", "What is logged, and where"},
      {"model", "The model and its assets"},
      {"optimizer", "The optimizer"},
      {"lr_scheduler", "The learning rate over the steps: warm-up, constant, decay"},
      {"training", "Data, batches, steps and precision"},
      {"training.dataloader", "How training data is read ahead"},
      {"parallelism", "How the work is spread over ranks"},
      {"checkpoint", "Saving and loading"},
      {"activation_checkpoint", "Computing activations again instead of keeping them"},
      {"compile", "torch.compile, which this program does without"},
      {"quantize.linear.float8", "Linears in float8"},
      {"quantize.linear.mx", "Linears in MX formats"},
      {"quantize.grouped_mm.float8", "Experts in float8"},
      {"quantize.grouped_mm.mx", "Experts in MX formats"},
      {"comm", "Communication between ranks"},
      {"memory_estimation", "torchtitan's memory estimate"},
      {"fault_tolerance", "TorchFT"},
      {"experimental", "Hooks for Python code"},
      {"validation", "Loss on held-out data"},
      {"validation.dataloader", "How validation data is read ahead"},
      {"debug", "Seeds and reproducibility"},
  };
  const auto found = docs.find(section);
  return found == docs.end() ? std::string_view() : found->second;
}

}  // namespace titan::config
