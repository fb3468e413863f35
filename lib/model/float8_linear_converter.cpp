#include <algorithm>
#include <limits>
#include <map>

#include "lib/base/error.hpp"
#include "lib/model/measured_filter.hpp"
#include "lib/model/small_linears.hpp"

namespace titan {
namespace {

constexpr const char* kAutoFilter = "auto_filter_small_kn";
constexpr const char* kMeasuredFilter = "auto_filter_measured";
constexpr int64_t kMultiple = 16;  // of every dimension of a float8 product

size_t edit_distance(const std::string& a, const std::string& b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t replaced = diagonal + (a[i - 1] != b[j - 1]);
      diagonal = row[j];
      row[j] = std::min({replaced, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row[b.size()];
}

class Float8LinearConverter final : public Converter {
 public:
  explicit Float8LinearConverter(Float8LinearOptions options) : options_(std::move(options)) {
    auto_filter_ = std::erase(options_.filter_fqns, kAutoFilter) > 0;
    measured_filter_ = std::erase(options_.filter_fqns, kMeasuredFilter) > 0;
  }

  ConversionReport convert(DecoderConfig& model) const override {
    ConversionReport report;
    report.converter = concat("float8 ", recipe_name(options_.recipe));
    std::map<std::string, int64_t> matches;
    const int64_t tp = options_.tp;
    for_each_linear(model, [&](const std::string& name, LinearConfig& linear, LinearGroup& group) {
      ConversionRow row{.name = name,
                        .group = {},
                        .m = options_.tokens,
                        .k = linear.in_features,
                        .n = linear.out_features,
                        .own_k = linear.in_features / (by_rows(linear) ? tp : 1),
                        .own_n = linear.out_features / (by_columns(linear) ? tp : 1),
                        .converted = false,
                        .reason = {}};
      for (const LinearConfig& member : group.members) row.group.push_back(member.name);
      row.reason = reason_against(row, matches);
      row.converted = row.reason.empty();
      if (row.converted) {
        linear.float8 = options_.recipe;
        linear.emulate_float8 = options_.emulate;
      }
      report.rows.push_back(std::move(row));
    });
    if (measured_filter_) keep_measured(model, report);
    for (const std::string& entry : options_.filter_fqns) {
      if (matches[entry] == 0) report.warnings.push_back(no_match(entry, report));
    }
    return report;
  }

 private:
  void keep_measured(DecoderConfig& model, ConversionReport& report) const {
    if (options_.measure) {
      keep_what_gains(model, report, options_.tokens, options_.tp, options_.measure);
    } else {
      report.notes.push_back(concat(
          kMeasuredFilter, ": nothing can be measured (on the CPU, in --dry_run, with emulate): ",
          "all ", report.converted(), " linears that may be in float8 are"));
    }
  }

  static bool by_rows(const LinearConfig& linear) {
    return linear.role == TensorParallelRole::kRow;
  }
  static bool by_columns(const LinearConfig& linear) {
    return linear.role == TensorParallelRole::kColumn;
  }

  std::string reason_against(const ConversionRow& row,
                             std::map<std::string, int64_t>& matches) const {
    const std::string* first = nullptr;
    for (const std::string& entry : options_.filter_fqns) {
      if (row.name.find(entry) == std::string::npos) continue;
      ++matches[entry];
      if (first == nullptr) first = &entry;
    }
    if (first != nullptr) return concat("filter_fqns \"", *first, "\"");
    if (row.k % kMultiple != 0) return concat("K is no multiple of ", kMultiple);
    if (row.n % kMultiple != 0) return concat("N is no multiple of ", kMultiple);
    if (row.m % kMultiple != 0) return concat("M is no multiple of ", kMultiple);
    if (row.own_k % kMultiple != 0) return no_multiple("K", row.own_k);
    if (row.own_n % kMultiple != 0) return no_multiple("N", row.own_n);
    return auto_filter_ ? too_small_for_float8(options_.recipe, row.k, row.n) : "";
  }

  std::string no_multiple(const char* dimension, int64_t own) const {
    return concat(dimension, " / ", options_.tp, " = ", own, " is no multiple of ", kMultiple);
  }

  static std::string no_match(const std::string& entry, const ConversionReport& report) {
    std::string nearest;
    size_t best = std::numeric_limits<size_t>::max();
    for (const ConversionRow& row : report.rows) {
      const std::string last = row.name.substr(row.name.rfind('.') + 1);
      for (const std::string& candidate : {last, row.name}) {
        if (const size_t distance = edit_distance(entry, candidate); distance < best) {
          best = distance;
          nearest = candidate;
        }
      }
    }
    return concat("quantize.linear.float8.filter_fqns: \"", entry,
                  "\" matches no linear; the nearest name is \"", nearest, "\"");
  }

  Float8LinearOptions options_;
  bool auto_filter_ = false;
  bool measured_filter_ = false;
};

}  // namespace

std::unique_ptr<Converter> float8_linear_converter(Float8LinearOptions options) {
  return std::make_unique<Float8LinearConverter>(std::move(options));
}

}  // namespace titan
