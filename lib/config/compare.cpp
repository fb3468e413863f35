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

Values read_job(const std::string& job, std::size_t rank) {
  const Json table = Json::parse(job, nullptr, /*allow_exceptions=*/false);
  TITAN_CHECK(table.is_object(), "the job of rank ", rank, " did not arrive whole");
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

std::string describe_differences(std::span<const std::string> jobs) {
  std::map<std::string, Ranks> ranks_by_job;  // most ranks have the same text: read once
  for (std::size_t rank = 0; rank < jobs.size(); ++rank) ranks_by_job[jobs[rank]].push_back(rank);

  std::map<std::string, std::map<std::string, Ranks>> options;  // option to value to ranks
  std::vector<std::pair<Values, Ranks>> read;
  for (const auto& [job, ranks] : ranks_by_job) {
    read.emplace_back(read_job(job, ranks.front()), ranks);
    for (const auto& [option, value] : read.back().first) options[option];
  }
  std::string text;
  std::size_t differing = 0;
  for (auto& [option, ranks_by_value] : options) {
    for (const auto& [values, ranks] : read) {
      const auto found = values.find(option);
      Ranks& all = ranks_by_value[found == values.end() ? "unknown" : found->second];
      all.insert(all.end(), ranks.begin(), ranks.end());
      std::ranges::sort(all);
    }
    if (ranks_by_value.size() == 1) continue;
    if (++differing <= kMostOptions) {
      text += concat("\n  ", option, ": ", describe(ranks_by_value));
    }
  }
  if (differing == 0) return "";
  if (differing > kMostOptions) {
    text += concat("\n  and ", differing - kMostOptions, " more options");
  }
  return concat(
      "the ranks were given different jobs; start all of them with the same job file and "
      "options:",
      text);
}

}  // namespace titan::config
