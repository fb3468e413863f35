// metrics.jsonl: one JSON object per log line, in the order of writing, appended to by a resumed
// run. "kind" is "step" or "validation", "time" the Unix time in seconds; the other keys are the
// members of metrics.hpp, flat. A run that goes back to an earlier step writes its records again
// below the old ones: of two with the same kind and step the later one counts. Numbers that JSON
// does not have are the strings "NaN", "Infinity" and "-Infinity".
#pragma once

#include <filesystem>
#include <string>

#include "lib/metrics/metrics.hpp"

namespace titan {

// One line with its newline. unix_seconds: wall-clock time of the record.
std::string json_line(const StepMetrics& metrics, double unix_seconds);
std::string json_line(const ValidationMetrics& metrics, double unix_seconds);

// Makes the file end with a whole line, so that appending is safe: a last line that a crash left
// without its newline gets it when it is whole, and is removed with a warning when it is not. A
// file that is missing or that cannot be changed is left alone (the latter with a warning).
void repair_last_line(const std::filesystem::path& path);

}  // namespace titan
