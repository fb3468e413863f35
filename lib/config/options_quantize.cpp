// The options of the converters that change precision: [quantize.*].
#include "lib/config/option_macro.hpp"
#include "lib/config/option_tables.hpp"

namespace titan::config {

using enum Support;

namespace {

bool applies(const JobConfig& job, std::string_view converter) {
  return std::ranges::find(job.model.converters, converter) != job.model.converters.end();
}

}  // namespace

bool linears_in_float8(const JobConfig& job, std::int64_t) {
  return applies(job, "quantize.linear.float8");
}

bool experts_in_float8(const JobConfig& job, std::int64_t) {
  return applies(job, "quantize.grouped_mm.float8");
}

bool anything_in_mx(const JobConfig& job, std::int64_t) {
  return applies(job, "quantize.linear.mx") || applies(job, "quantize.grouped_mm.mx");
}

std::vector<Option> quantize_options() {
  return {
      OPTION(quantize.linear.float8.recipe_name, support::kFloat8,
             "How scales are made; None: rowwise, one scale per row.")
          .formerly({"float8.recipe_name"})
          .limit(
              support::kFloat8Tensorwise, "`tensorwise`",
              [](const JobConfig& job, std::int64_t world_size) {
                return job.quantize.linear.float8.recipe_name == Float8Recipe::kTensorwise &&
                       linears_in_float8(job, world_size);
              },
              "set it to rowwise")
          .only_with("model.converters"),
      OPTION(quantize.linear.float8.filter_fqns, support::kFloat8,
             "Linears whose name contains one of these stay in high precision; "
             "`auto_filter_small_kn`: so do those too small to gain; `auto_filter_measured`: so do "
             "those that are no faster in float8 on this GPU, timed at the start.")
          .formerly({"float8.filter_fqns"})
          .only_with("model.converters"),
      OPTION(quantize.linear.float8.emulate, support::kFloat8,
             "Compute float8 without float8 hardware.")
          .formerly({"float8.emulate"})
          .only_with("model.converters"),
      OPTION(quantize.linear.float8.enable_fsdp_float8_all_gather, kIgnored,
             "Gather weights in float8; communication is in high precision here.")
          .formerly({"float8.enable_fsdp_float8_all_gather"}),
      OPTION(quantize.linear.float8.precompute_float8_dynamic_scale_for_fsdp, kIgnored,
             "Part of the former.")
          .formerly({"float8.precompute_float8_dynamic_scale_for_fsdp"}),
      OPTION(quantize.linear.mx.mxfp8_dim1_cast_kernel_choice, kIgnored, "MX cast kernel.")
          .one_of({"triton", "cuda", "torch"})
          .formerly({"mx.mxfp8_dim1_cast_kernel_choice"}),
      OPTION(quantize.linear.mx.recipe_name, support::kMx,
             "MX recipe; the mx converters are refused.")
          .formerly({"mx.recipe_name"})
          .only_with("model.converters"),
      OPTION(quantize.linear.mx.filter_fqns, support::kMx, "As for float8.")
          .formerly({"mx.filter_fqns"})
          .only_with("model.converters"),
      OPTION(quantize.grouped_mm.float8.fqns, support::kFloat8Experts,
             "Experts whose name contains one of these compute in float8.")
          .or_string()
          .formerly({"float8.moe_fqns_prototype"})
          .only_with("model.converters"),
      OPTION(quantize.grouped_mm.mx.recipe_name, support::kMx, "MX recipe of experts.")
          .one_of({"mxfp8"})
          .only_with("model.converters"),
      OPTION(quantize.grouped_mm.mx.fqns, support::kMx, "As for float8.")
          .or_string()
          .formerly({"mx.moe_fqns_prototype"})
          .only_with("model.converters"),
  };
}

}  // namespace titan::config
