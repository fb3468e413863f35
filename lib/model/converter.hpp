// Converters change a model's tree before it is built: model.converters names them, in order. What
// one did is in the conversion report, a row for every linear.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "lib/model/decoder_config.hpp"

namespace titan {

struct ConversionRow {
  std::string name;                // "layers.0.attention.wq"
  std::vector<std::string> group;  // names of the members that share its input
  int64_t m = 0, k = 0, n = 0;     // tokens of a micro-batch on this rank, in, out
  bool converted = false;
  std::string reason;  // why it was not converted: the filter entry, the dimension, the threshold
};

struct ConversionReport {
  std::string converter;  // "float8 rowwise"
  std::vector<ConversionRow> rows;
  std::vector<std::string> warnings;

  int64_t converted() const;
  // "float8 rowwise: 160 of 225 linears"
  std::string summary() const;
  // The summary and a table with one line for every distinct kind of linear.
  std::string table() const;
};

class Converter {
 public:
  virtual ~Converter() = default;
  virtual ConversionReport convert(DecoderConfig& model) const = 0;
};

struct Float8LinearOptions {
  Float8Recipe recipe = Float8Recipe::kRowwise;
  std::vector<std::string> filter_fqns;  // substrings of dotted names; auto_filter_small_kn
  bool emulate = false;                  // fp32 arithmetic on float8 values
  int64_t tokens = 0;                    // M: tokens of a micro-batch on this rank
};

// Sets LinearConfig::float8 on the linears whose dimensions are multiples of 16 and whose names
// hold no entry of the filter; with auto_filter_small_kn also not on those that torchao's
// thresholds call too small (torchao float8_linear_utils.py, _auto_filter_for_recipe).
std::unique_ptr<Converter> float8_linear_converter(Float8LinearOptions options);

}  // namespace titan
