#include "lib/config/compare.hpp"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "lib/base/error.hpp"

namespace titan::config {
namespace {

using Json = nlohmann::ordered_json;
using Ranks = std::vector<std::size_t>;             // ascending
using Values = std::map<std::string, std::string>;  // by option, as JSON

constexpr std::size_t kMostOptions = 5, kMostValues = 4;

void flatten(const Json& table, const std::string& prefix, Values& values) {
  for (const auto& [key, value] : table.items()) {
    if (value.is_object()) {
      flatten(value, prefix + key + ".", values);
    } else {
      values[prefix + key] = value.dump();
    }
  }
}

Values read(const std::string& text, std::size_t rank) {
  const Json table = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  TITAN_CHECK(table.is_object(), "what rank ", rank, " was given did not arrive whole");
  Values values;
  flatten(table, "", values);
  values.erase("job.config_file");
  return values;
}

// "rank 3", "ranks 0-2, 5".
std::string describe(const Ranks& ranks) {
  std::string text = ranks.size() == 1 ? "rank " : "ranks ";
  for (std::size_t first = 0, last = 0; first < ranks.size(); first = ++last) {
    while (last + 1 < ranks.size() && ranks[last + 1] == ranks[last] + 1) ++last;
    text += concat(first ? ", " : "", ranks[first]);
    if (last > first) text += concat("-", ranks[last]);
  }
  return text;
}

// "40 on ranks 0-2, 50 on rank 3".
std::string describe(const std::map<std::string, Ranks>& ranks_by_value) {
  std::vector<std::pair<Ranks, std::string>> parts;
  for (const auto& [value, ranks] : ranks_by_value) parts.emplace_back(ranks, value);
  std::ranges::sort(parts);
  std::string text;
  for (std::size_t i = 0; i < std::min(parts.size(), kMostValues); ++i) {
    text += concat(i ? ", " : "", parts[i].second, " on ", describe(parts[i].first));
  }
  return parts.size() > kMostValues ? text + ", ..." : text;
}

}  // namespace

std::string list_differences(std::span<const std::string> tables) {
  std::map<std::string, Ranks> ranks_by_table;  // most ranks have the same text: read once
  for (std::size_t rank = 0; rank < tables.size(); ++rank) {
    ranks_by_table[tables[rank]].push_back(rank);
  }
  std::map<std::string, std::map<std::string, Ranks>> keys;  // key to value to ranks
  std::vector<std::pair<Values, Ranks>> all_values;
  for (const auto& [table, ranks] : ranks_by_table) {
    all_values.emplace_back(read(table, ranks.front()), ranks);
    for (const auto& [key, value] : all_values.back().first) keys[key];
  }
  std::string text;
  std::size_t differing = 0;
  for (auto& [key, ranks_by_value] : keys) {
    for (const auto& [values, ranks] : all_values) {
      const auto found = values.find(key);
      Ranks& all = ranks_by_value[found == values.end() ? "unknown" : found->second];
      all.insert(all.end(), ranks.begin(), ranks.end());
      std::ranges::sort(all);
    }
    if (ranks_by_value.size() == 1) continue;
    if (++differing <= kMostOptions) text += concat("\n  ", key, ": ", describe(ranks_by_value));
  }
  if (differing > kMostOptions) text += concat("\n  and ", differing - kMostOptions, " more");
  return text;
}

std::string describe_differences(std::span<const std::string> jobs) {
  const std::string differences = list_differences(jobs);
  if (differences.empty()) return "";
  return concat(
      "the ranks were given different jobs; start all of them with the same job file and "
      "options:",
      differences);
}

}  // namespace titan::config
