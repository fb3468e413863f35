// The options for people: --help and docs/options.md, both made from the schema.
#pragma once

#include <string>

namespace titan::config {

// Usage and every option by section with its default; lines of at most 100 columns.
std::string help_text();

// The content of docs/options.md.
std::string options_page();

}  // namespace titan::config
