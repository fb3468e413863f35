// The thresholds of auto_filter_small_kn for rowwise_with_gw_hp against the table that they come
// from: what titan-bench float8_linear measured on an H200.
#include "lib/model/small_linears.hpp"

#include <gtest/gtest.h>

#include <map>
#include <set>
#include <sstream>
#include <vector>

#include "lib/base/file.hpp"

namespace titan {
namespace {

std::vector<std::string> fields(const std::string& line) {
  std::vector<std::string> result;
  std::istringstream stream(line);
  for (std::string field; std::getline(stream, field, ',');) result.push_back(field);
  return result;
}

struct Row {
  int64_t m, k, n;
  double speedup;  // of rowwise_with_gw_hp over bf16
};

std::vector<Row> table() {
  std::istringstream csv(read_file(TITAN_SOURCE_DIR "/docs/float8_linear_h200.csv"));
  std::string line;
  std::getline(csv, line);
  std::map<std::string, size_t> column;
  for (const std::string& name : fields(line)) column.emplace(name, column.size());
  std::vector<Row> rows;
  while (std::getline(csv, line)) {
    const std::vector<std::string> row = fields(line);
    rows.push_back({std::stoll(row.at(column.at("M"))), std::stoll(row.at(column.at("K"))),
                    std::stoll(row.at(column.at("N"))),
                    std::stod(row.at(column.at("rowwise_with_gw_hp_speedup")))});
  }
  return rows;
}

TEST(SmallLinears, ConvertedSizesGainAndMostThatGainAreConverted) {
  using Size = std::pair<int64_t, int64_t>;  // K, N
  std::set<int64_t> tokens;
  std::map<Size, double> worst;  // over all M
  for (const Row& row : table()) {
    tokens.insert(row.m);
    const auto [entry, is_new] = worst.try_emplace({row.k, row.n}, row.speedup);
    if (!is_new) entry->second = std::min(entry->second, row.speedup);
  }
  EXPECT_EQ(tokens, (std::set<int64_t>{8192, 16384}));
  ASSERT_GE(worst.size(), 25u);
  size_t faster = 0, converted = 0;
  for (const auto& [size, speedup] : worst) {
    const auto [k, n] = size;
    const std::string reason = too_small_for_float8(Float8Recipe::kRowwiseWithGwHp, k, n);
    if (reason.empty()) {
      EXPECT_GE(speedup, 1.05) << "K " << k << ", N " << n;
    }
    faster += speedup >= 1.0;
    converted += reason.empty();
  }
  EXPECT_GE(converted * 10, faster * 8) << converted << " of " << faster;
  EXPECT_GT(faster, worst.size() / 2);
}

}  // namespace
}  // namespace titan
