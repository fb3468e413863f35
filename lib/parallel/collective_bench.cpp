#include "lib/parallel/collective_bench.hpp"

#include <ATen/ATen.h>

#include <cstdio>

#include "lib/ops/device_timer.hpp"
#include "lib/parallel/shard_exchange.hpp"

namespace titan {

CollectiveTimings time_collectives(const ops::Device& device, World& world, int64_t largest_mib) {
  std::vector<int64_t> all;
  for (int64_t rank = 0; rank < world.size(); ++rank) all.push_back(rank);
  const Group group = world.group("bench", all);
  const int64_t ranks = group.size();
  const double ring = static_cast<double>(ranks - 1) / static_cast<double>(ranks);

  std::vector<int64_t> sizes;
  int64_t bytes_of_parts = 0;
  const auto part_elements = [&](int64_t mib, at::ScalarType dtype) {
    return (mib << 20) / static_cast<int64_t>(c10::elementSize(dtype)) / ranks;
  };
  for (int64_t mib = 1; mib <= largest_mib; mib *= 4) {
    sizes.push_back(mib);
    bytes_of_parts +=
        ShardExchange::padded_bytes({part_elements(mib, at::kBFloat16)}, at::kBFloat16);
  }
  ShardExchange exchange(group, world.watched_alone(), device, bytes_of_parts,
                         (sizes.back() << 20) / ranks);

  CollectiveTimings timings{{}, exchange.why_not()};
  for (const int64_t mib : sizes) {
    const auto zeros = [&](int64_t parts, at::ScalarType dtype) {
      return at::zeros({part_elements(mib, dtype) * parts}, device.options(dtype));
    };
    const auto time = [&](const char* name, const char* by, const at::Tensor& whole, double rounds,
                          const std::function<void()>& work) {
      const double milliseconds = ops::median_milliseconds(device, {}, work);
      const auto bytes = static_cast<int64_t>(whole.nbytes());
      timings.rows.push_back({name, by, bytes, milliseconds,
                              rounds * ring * static_cast<double>(bytes) / (milliseconds / 1e3)});
    };
    at::Tensor whole = zeros(ranks, at::kBFloat16), part = zeros(1, at::kBFloat16);
    time("all_gather bf16", "NCCL", whole, 1, [&] { group.all_gather(whole, part); });
    if (exchange.copies()) {
      const at::Tensor shard = exchange.zeros(part.sizes().vec(), at::kBFloat16);
      time("all_gather bf16", "copies", whole, 1, [&] {
        exchange.written();
        exchange.all_gather({{whole, shard}});
      });
      const at::Tensor sum = part.to(at::kFloat);
      time("reduce_scatter bf16", "copies", whole, 1, [&] {
        exchange.reduce_scatter({{sum, whole}}, /*accumulate=*/false);
      });
    }
    whole = zeros(ranks, at::kFloat);
    part = zeros(1, at::kFloat);
    time("reduce_scatter fp32", "NCCL", whole, 1, [&] { group.reduce_scatter(part, whole); });
    time("all_reduce fp32", "NCCL", whole, 2, [&] { group.all_reduce_(whole); });
  }
  return timings;
}

std::string describe(const CollectiveTimings& timings) {
  char line[160];
  std::snprintf(line, sizeof line, "%-20s %-8s %9s %9s %12s\n", "collective", "by", "MiB", "ms",
                "GB/s a rank");
  std::string text = line;
  for (const CollectiveTiming& timing : timings.rows) {
    std::snprintf(line, sizeof line, "%-20s %-8s %9.0f %9.3f %12.1f\n", timing.name.c_str(),
                  timing.by.c_str(), static_cast<double>(timing.bytes) / (1 << 20),
                  timing.milliseconds, timing.sent_per_second / 1e9);
    text += line;
  }
  if (!timings.why_no_copies.empty()) text += "no copies: " + timings.why_no_copies + "\n";
  return text;
}

}  // namespace titan
