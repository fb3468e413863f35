// The console form of a record: torchtitan's fields, order, widths and colours, which log parsers
// rely on (two spaces between fields; tps rounded half to even; thousands separated by commas).
#pragma once

#include <string>

#include "lib/metrics/metrics.hpp"

namespace titan {

std::string step_line(const StepMetrics& metrics, bool colours);
std::string validation_line(const ValidationMetrics& metrics, bool colours);

}  // namespace titan
