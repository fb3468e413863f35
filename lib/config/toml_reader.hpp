// Reads job files. Anything wrong in one is collected as "file:line:column: key: problem".
#pragma once

#include <filesystem>
#include <optional>
#include <string_view>

#include "lib/config/assignments.hpp"

namespace titan::config {

// Reads the text of a job file into `reading`; `name` stands for the file in messages.
void read_toml(std::string_view text, std::string_view name, Reading& reading);

// Reads the file itself; a missing or unreadable one is one of the errors.
void read_toml_file(const std::filesystem::path& path, Reading& reading);

// A whole job from text alone, without a command line. Throws InputError with every problem in it.
JobConfig parse_toml(std::string_view text, std::string_view name = "job.toml");

// [["a", "b"], ["c"]], or nothing when the text is no such literal.
std::optional<Value> parse_list_of_lists(std::string_view text);

}  // namespace titan::config
