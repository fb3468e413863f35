// Console log, in torchtitan's form, on stdout:
//   [titan] 2026-01-31 12:00:00,123 - root - INFO - message
// A facade: the logging library (spdlog) stays inside log.cpp, away from torch's copy of fmt.
// Safe to call from any thread.
#pragma once

#include <string_view>

namespace titan::log {

void info(std::string_view message);
void warning(std::string_view message);
void error(std::string_view message);

// Ranks that are not selected log warnings and errors only. Default: enabled.
void set_info_enabled(bool enabled);

// Whether stdout is a terminal that wants colours: a TTY, and NO_COLOR is not set.
bool colours_wanted();

void flush();

}  // namespace titan::log
