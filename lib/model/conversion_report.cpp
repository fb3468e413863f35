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

std::string joined(const LinearGroupKind& kind, const Float8Members& members) {
  std::string text;
  for (size_t i = 0; i < members.size(); ++i) {
    if (members[i]) text += concat(text.empty() ? "" : "|", kind.members[i].name);
  }
  return text;
}

// "layers.*.attention.wq|wk|wv   M 8192  bf16 1.234  float8 0.987  float8 wq|wk 1.010"
std::string line_of(const GroupMeasurement& measurement) {
  const LinearGroupKind& kind = measurement.kind;
  const Float8Members all(kind.members.size(), true), none(kind.members.size(), false);
  char buffer[256];
  std::snprintf(buffer, sizeof buffer, "\n  %-32s M %6ld", (kind.name + joined(kind, all)).c_str(),
                static_cast<long>(kind.m));
  std::string text = buffer;
  for (const auto& [float8, milliseconds] : measurement.choices) {
    const std::string name = float8 == none  ? "bf16"
                             : float8 == all ? "float8"
                                             : "float8 " + joined(kind, float8);
    std::snprintf(buffer, sizeof buffer, "  %s %.3f", name.c_str(), milliseconds);
    text += buffer;
  }
  return text;
}

// "16384", or "53248/8" where so many ranks split it.
std::string extent(int64_t whole, int64_t own) {
  return own == whole ? std::to_string(whole) : concat(whole, "/", whole / own);
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
  const bool split = std::ranges::any_of(
      rows, [](const ConversionRow& row) { return row.own_k != row.k || row.own_n != row.n; });
  const int width = split ? 9 : 6;
  std::string text = summary();
  char buffer[256];
  for (const std::string& key : order) {
    const auto& [row, count] = lines.at(key);
    std::snprintf(buffer, sizeof buffer, "\n  %-32s %4ld x  M %6ld  K %*s  N %*s  %s%s%s",
                  without_layer(row->name).c_str(), static_cast<long>(count),
                  static_cast<long>(row->m), width, extent(row->k, row->own_k).c_str(), width,
                  extent(row->n, row->own_n).c_str(), row->converted ? "float8" : "not",
                  row->reason.empty() ? "" : ": ", row->reason.c_str());
    text += buffer;
  }
  if (!measurements.empty()) text += "\n  measured, ms of forward and backward of a micro-batch:";
  for (const GroupMeasurement& measurement : measurements) text += line_of(measurement);
  for (const std::string& note : notes) text += "\n  " + note;
  return text;
}

}  // namespace titan
