#include <algorithm>
#include <cstdio>
#include <map>

#include "lib/base/error.hpp"
#include "lib/model/converter.hpp"

namespace titan {
namespace {

// "layers.12.attention.wq" -> "layers.*.attention.wq"
std::string without_layer(const std::string& name) {
  const std::string prefix = "layers.";
  if (!name.starts_with(prefix)) return name;
  return prefix + "*" + name.substr(name.find('.', prefix.size()));
}

}  // namespace

int64_t ConversionReport::converted() const {
  return std::count_if(rows.begin(), rows.end(),
                       [](const ConversionRow& row) { return row.converted; });
}

std::string ConversionReport::summary() const {
  return concat(converter, ": ", converted(), " of ", rows.size(), " linears");
}

std::string ConversionReport::table() const {
  // Rows that differ in the layer alone are one line, in the order of the first of them.
  struct Line {
    const ConversionRow* row;
    int64_t count;
  };
  std::vector<std::string> order;
  std::map<std::string, Line> lines;
  for (const ConversionRow& row : rows) {
    const std::string key =
        concat(without_layer(row.name), " ", row.k, " ", row.n, row.converted, row.reason);
    auto [line, is_new] = lines.try_emplace(key, Line{&row, 0});
    if (is_new) order.push_back(key);
    line->second.count += 1;
  }
  std::string text = summary();
  char buffer[256];
  for (const std::string& key : order) {
    const auto& [row, count] = lines.at(key);
    std::snprintf(buffer, sizeof buffer, "\n  %-32s %4ld x  M %6ld  K %6ld  N %6ld  %s",
                  without_layer(row->name).c_str(), static_cast<long>(count),
                  static_cast<long>(row->m), static_cast<long>(row->k), static_cast<long>(row->n),
                  row->converted ? "float8" : concat("not: ", row->reason).c_str());
    text += buffer;
  }
  return text;
}

}  // namespace titan
