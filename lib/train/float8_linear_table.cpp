// What titan-bench float8_linear prints.
#include <cstdio>

#include "lib/base/error.hpp"
#include "lib/train/float8_linear_bench.hpp"

namespace titan {
namespace {

template <class... Values>
std::string line(const char* format, Values... values) {
  char buffer[200];
  std::snprintf(buffer, sizeof buffer, format, values...);
  return buffer;
}

// The columns of CSV and JSON, in order.
struct Column {
  std::string name;
  std::optional<double> value;
};

std::vector<Column> columns(const LinearTiming& timing) {
  const std::optional<LinearMilliseconds> torchao = torchao_milliseconds(timing.size);
  std::vector<Column> columns = {{"bf16_ms", timing.measured.bf16}};
  for (size_t i = 0; i < std::size(kFloat8Recipes); ++i) {
    const std::string name = recipe_name(kFloat8Recipes[i]);
    columns.push_back({name + "_ms", timing.measured.float8[i]});
    columns.push_back({name + "_speedup", timing.speedup(i)});
    columns.push_back({name + "_floor_ms", floor_milliseconds(timing.size, kFloat8Recipes[i])});
  }
  columns.push_back({"torchao_bf16_ms", torchao ? std::optional(torchao->bf16) : std::nullopt});
  for (size_t i = 0; i < std::size(kFloat8Recipes); ++i) {
    columns.push_back({concat("torchao_", recipe_name(kFloat8Recipes[i]), "_ms"),
                       torchao ? std::optional(torchao->float8[i]) : std::nullopt});
  }
  return columns;
}

}  // namespace

std::string as_table(const std::vector<LinearTiming>& timings) {
  std::string text = line("%7s %7s %7s %9s   %-26s   %-26s   %s\n", "", "", "", "", "rowwise",
                          "rowwise_with_gw_hp", "torchao: bf16, rowwise, with_gw_hp");
  text += line("%7s %7s %7s %9s ", "M", "K", "N", "bf16 ms");
  for (size_t i = 0; i < std::size(kFloat8Recipes); ++i) {
    text += line("  %9s %7s %8s ", "ms", "speed", "floor");
  }
  text += line("  %8s %8s %8s\n", "ms", "ms", "ms");
  for (const LinearTiming& timing : timings) {
    const auto& [m, k, n] = timing.size;
    text += line("%7ld %7ld %7ld %9.3f ", static_cast<long>(m), static_cast<long>(k),
                 static_cast<long>(n), timing.measured.bf16);
    for (size_t i = 0; i < std::size(kFloat8Recipes); ++i) {
      text += line("  %9.3f %6.2fx %8.3f ", timing.measured.float8[i], timing.speedup(i),
                   floor_milliseconds(timing.size, kFloat8Recipes[i]));
    }
    if (const auto torchao = torchao_milliseconds(timing.size)) {
      text += line("  %8.3f %8.3f %8.3f\n", torchao->bf16, torchao->float8[0], torchao->float8[1]);
    } else {
      text += line("  %8s %8s %8s\n", "-", "-", "-");
    }
  }
  return text;
}

std::string as_csv(const std::vector<LinearTiming>& timings) {
  std::string text = "M,K,N";
  for (const Column& column : columns({})) text += "," + column.name;
  for (const LinearTiming& timing : timings) {
    const auto& [m, k, n] = timing.size;
    text += line("\n%ld,%ld,%ld", static_cast<long>(m), static_cast<long>(k), static_cast<long>(n));
    for (const Column& column : columns(timing)) {
      text += column.value ? line(",%.4f", *column.value) : ",";
    }
  }
  return text + "\n";
}

nlohmann::ordered_json as_json(const std::vector<LinearTiming>& timings) {
  nlohmann::ordered_json rows = nlohmann::ordered_json::array();
  for (const LinearTiming& timing : timings) {
    nlohmann::ordered_json row = {{"M", timing.size.m}, {"K", timing.size.k}, {"N", timing.size.n}};
    for (const Column& column : columns(timing)) {
      row[column.name] = column.value ? nlohmann::ordered_json(*column.value) : nullptr;
    }
    rows.push_back(std::move(row));
  }
  return rows;
}

}  // namespace titan
