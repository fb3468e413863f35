#include "lib/parallel/collective_bench.hpp"

#include <ATen/ATen.h>

#include <cstdio>

#include "lib/ops/device_timer.hpp"

namespace titan {

std::vector<CollectiveTiming> time_collectives(const ops::Device& device, World& world,
                                               int64_t largest_mib) {
  std::vector<int64_t> all;
  for (int64_t rank = 0; rank < world.size(); ++rank) all.push_back(rank);
  const Group group = world.group("bench", all);
  const int64_t ranks = group.size();
  const double ring = static_cast<double>(ranks - 1) / static_cast<double>(ranks);

  std::vector<CollectiveTiming> timings;
  for (int64_t mib = 1; mib <= largest_mib; mib *= 4) {
    const auto whole_of = [&](at::ScalarType dtype) {
      const int64_t rows = (mib << 20) / static_cast<int64_t>(c10::elementSize(dtype)) / ranks;
      return at::zeros({rows * ranks}, device.options(dtype));
    };
    const auto time = [&](const char* name, const at::Tensor& whole, double rounds,
                          const std::function<void()>& work) {
      const double milliseconds = ops::median_milliseconds(device, {}, work);
      const auto bytes = static_cast<int64_t>(whole.nbytes());
      timings.push_back({name, bytes, milliseconds,
                         rounds * ring * static_cast<double>(bytes) / (milliseconds / 1e3)});
    };
    at::Tensor whole = whole_of(at::kBFloat16);
    at::Tensor part = whole.narrow(0, 0, whole.size(0) / ranks).clone();
    time("all_gather bf16", whole, 1, [&] { group.all_gather(whole, part); });
    whole = whole_of(at::kFloat);
    part = whole.narrow(0, 0, whole.size(0) / ranks).clone();
    time("reduce_scatter fp32", whole, 1, [&] { group.reduce_scatter(part, whole); });
    time("all_reduce fp32", whole, 2, [&] { group.all_reduce_(whole); });
  }
  return timings;
}

std::string describe(const std::vector<CollectiveTiming>& timings) {
  char line[160];
  std::snprintf(line, sizeof line, "%-20s %9s %9s %12s\n", "collective", "MiB", "ms",
                "GB/s a rank");
  std::string text = line;
  for (const CollectiveTiming& timing : timings) {
    std::snprintf(line, sizeof line, "%-20s %9.0f %9.3f %12.1f\n", timing.name.c_str(),
                  static_cast<double>(timing.bytes) / (1 << 20), timing.milliseconds,
                  timing.sent_per_second / 1e9);
    text += line;
  }
  return text;
}

}  // namespace titan
