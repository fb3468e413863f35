// The least that each part of a training step can take on one H200: products and attention at the
// best rates measured (lib/ops/h200_rates.hpp), everything else its bytes at the speed of a copy.
#pragma once

#include <map>
#include <string>

#include "lib/train/report.hpp"

namespace titan {

// Milliseconds of a whole step by part, named as StepPart: "matmul", "attention", "quantize", ...
// Recomputation counts as overhead: it is in no floor.
std::map<std::string, double> step_floors(const JobPlan& plan, const JobConfig& job);

}  // namespace titan
