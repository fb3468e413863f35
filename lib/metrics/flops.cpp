#include "lib/metrics/flops.hpp"

#include <cstdio>

#include "lib/base/error.hpp"
#include "lib/base/log.hpp"

namespace titan {
namespace {

struct Peak {
  std::string_view name;     // part of the device's name
  std::string_view variant;  // a second part, or empty
  double flops;
};

// From the makers' data sheets, dense bf16. The first match counts: variants stand before their
// family.
constexpr Peak kPeaks[] = {
    {"A100", "", 312e12},    {"H100", "NVL", 835e12}, {"H100", "PCIe", 756e12},
    {"H100", "", 989e12},    {"H200", "", 989e12},    {"H20", "", 148e12},
    {"B200", "", 2.25e15},   {"L40S", "", 362e12},    {"MI250X", "", 191.5e12},
    {"MI300X", "", 1300e12}, {"MI325X", "", 1300e12}, {"MI355X", "", 2500e12},
};
constexpr double kAssumedPeak = 312e12;  // A100

}  // namespace

int64_t flops_per_token(const FlopsInputs& model) {
  return 6 * (model.parameters - model.embedding_parameters) +
         6 * model.layers * model.heads * model.head_dims * model.seq_len;
}

double peak_flops(std::string_view device_name) {
  if (device_name == "CPU") return 0;
  for (const Peak& peak : kPeaks) {
    if (device_name.find(peak.name) != device_name.npos &&
        device_name.find(peak.variant) != device_name.npos) {
      return peak.flops;
    }
  }
  log::warning(concat("Peak FLOPS of ", device_name, " are not known: an A100's are used for MFU"));
  return kAssumedPeak;
}

std::string peak_flops_line(double peak_flops) {
  if (peak_flops == 0) return "Peak FLOPS used for computing MFU: none for the CPU, mfu shows 0";
  char number[32];
  std::snprintf(number, sizeof number, "%.3e", peak_flops);
  return concat("Peak FLOPS used for computing MFU: ", number);
}

}  // namespace titan
