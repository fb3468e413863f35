// Converters change a model's tree before it is built: model.converters names them, in order. What
// one did is in the conversion report, a row for every linear.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "lib/model/decoder_config.hpp"
#include "lib/model/linear_timing.hpp"

namespace titan {

struct ConversionRow {
  std::string name;                // "layers.0.attention.wq"
  std::vector<std::string> group;  // names of the members that share its input
  int64_t m = 0, k = 0, n = 0;     // tokens of a micro-batch, in, out
  int64_t own_k = 0, own_n = 0;    // of one tensor-parallel rank, as its product runs
  bool converted = false;
  // Why it was not converted: the filter entry, the dimension, the threshold. What was measured,
  // whether converted or not.
  std::string reason;
};

// What auto_filter_measured knows of a kind of group.
struct GroupMeasurement {
  struct Choice {
    Float8Members float8;
    double milliseconds = 0;  // forward and backward of a micro-batch
  };
  LinearGroupKind kind;
  Float8Members candidates;     // which members could be converted
  std::vector<Choice> choices;  // the first: none in float8; the second: all candidates
};

struct ConversionReport {
  std::string converter;  // "float8 rowwise"
  std::vector<ConversionRow> rows;
  std::vector<GroupMeasurement> measurements;
  std::vector<std::string> notes;  // lines below the table
  std::vector<std::string> warnings;

  int64_t converted() const;
  // "float8 rowwise: 160 of 225 linears"
  std::string summary() const;
  // The summary, a table with one line for every distinct kind of linear, and what was measured.
  std::string table() const;
};

class Converter {
 public:
  virtual ~Converter() = default;
  virtual ConversionReport convert(DecoderConfig& model) const = 0;
};

// Measures a kind of group whose members may be converted where `candidates` is true.
using MeasureGroup =
    std::function<GroupMeasurement(const LinearGroupKind&, const Float8Members& candidates)>;

struct Float8LinearOptions {
  Float8Recipe recipe = Float8Recipe::kRowwise;
  // Substrings of dotted names; auto_filter_small_kn; auto_filter_measured.
  std::vector<std::string> filter_fqns;
  bool emulate = false;       // fp32 arithmetic on float8 values
  int64_t tokens = 0;         // M: of a micro-batch, those of all tensor-parallel ranks
  int64_t tp = 1;             // tensor-parallel ranks
  MeasureGroup measure = {};  // for auto_filter_measured; empty where there is no GPU to time
};

// Sets LinearConfig::float8 on the linears whose dimensions are multiples of 16, whole and as they
// are split, and whose names hold no entry of the filter; with auto_filter_small_kn also not on
// those that are too small as a whole, as upstream (small_linears.hpp), and with
// auto_filter_measured not on those that are no faster in float8 as they are split
// (measured_filter.hpp).
std::unique_ptr<Converter> float8_linear_converter(Float8LinearOptions options);

}  // namespace titan
