// "did you mean": the nearest known word to a misspelt one.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace titan::config {

// The candidate with the fewest single-letter edits (case and - _ do not count), or "" when none is
// near.
std::string_view nearest(std::string_view word, std::span<const std::string_view> candidates);

// "; did you mean NEAREST?", or "".
std::string did_you_mean(std::string_view word, std::span<const std::string_view> candidates);

// The same for option paths: the nearest option of the section, else one with this key in another
// section, else the nearest path.
std::string did_you_mean_option(std::string_view path);

// The same for sections.
std::string did_you_mean_section(std::string_view path);

}  // namespace titan::config
