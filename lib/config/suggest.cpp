#include "lib/config/suggest.hpp"

#include <algorithm>
#include <numeric>
#include <vector>

#include "lib/config/schema.hpp"

namespace titan::config {

namespace {

char folded(char c) {
  if (c == '-') return '_';
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

// Levenshtein distance, one row at a time.
std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), 0);
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i + 1;
    for (std::size_t j = 0; j < b.size(); ++j) {
      const std::size_t change = diagonal + (folded(a[i]) != folded(b[j]));
      diagonal = row[j + 1];
      row[j + 1] = std::min({change, row[j] + 1, row[j + 1] + 1});
    }
  }
  return row.back();
}

std::string phrase(std::string_view suggestion) {
  return suggestion.empty() ? "" : "; did you mean " + std::string(suggestion) + "?";
}

}  // namespace

std::string_view nearest(std::string_view word, std::span<const std::string_view> candidates) {
  if (word.size() > 100) return "";  // no misspelling, and the distance would cost
  std::string_view best;
  std::size_t best_distance = std::max<std::size_t>(1, word.size() / 3) + 1;
  for (std::string_view candidate : candidates) {
    const std::size_t distance = edit_distance(word, candidate);
    if (distance < best_distance) {
      best = candidate;
      best_distance = distance;
    }
  }
  if (!best.empty() || word.size() < 4) return best;
  const auto longer = std::ranges::find_if(
      candidates, [word](std::string_view candidate) { return candidate.find(word) != word.npos; });
  return longer == candidates.end() ? "" : *longer;
}

std::string did_you_mean(std::string_view word, std::span<const std::string_view> candidates) {
  return phrase(nearest(word, candidates));
}

std::string did_you_mean_option(std::string_view path) {
  const auto dot = path.rfind('.');
  const std::string_view section = dot == path.npos ? "" : path.substr(0, dot);
  const std::string_view key = dot == path.npos ? path : path.substr(dot + 1);
  std::vector<std::string_view> keys_here, all_paths;
  const Option* elsewhere = nullptr;
  for (const Option& option : options()) {
    all_paths.push_back(option.path);
    if (option.section() == section) keys_here.push_back(option.key());
    if (option.key() == key && elsewhere == nullptr) elsewhere = &option;
  }
  if (const std::string_view found = nearest(key, keys_here); !found.empty()) {
    return "; did you mean " + std::string(section) + "." + std::string(found) + "?";
  }
  if (elsewhere != nullptr) return phrase(elsewhere->path);
  return phrase(nearest(path, all_paths));
}

std::string did_you_mean_section(std::string_view path) {
  std::vector<std::string_view> sections;
  for (const Option& option : options()) {
    const std::string_view section = option.section();
    if (!sections.empty() && sections.back() == section) continue;
    const auto dot = section.rfind('.');
    if (dot != section.npos) sections.push_back(section.substr(0, dot));
    sections.push_back(section);
  }
  const std::string_view found = nearest(path, sections);
  return found.empty() ? "" : "; did you mean [" + std::string(found) + "]?";
}

}  // namespace titan::config
