#include "lib/train/float8_linear_bench.hpp"

#include <ATen/ATen.h>

#include <algorithm>
#include <cstdio>

#include "lib/base/error.hpp"
#include "lib/metrics/kernel_times.hpp"
#include "lib/ops/device_timer.hpp"
#include "lib/ops/h200_rates.hpp"

namespace titan {
namespace {

struct TorchaoRow {
  LinearSize size;
  LinearMilliseconds milliseconds;  // bf16, rowwise, rowwise_with_gw_hp
};

constexpr TorchaoRow kTorchao[] = {
    {{8192, 4096, 1024}, {0.504, {0.712, 0.769}}},
    {{8192, 4096, 4096}, {1.339, {1.321, 1.082}}},
    {{8192, 4096, 14336}, {4.396, {3.692, 3.452}}},
    {{8192, 14336, 4096}, {4.450, {4.087, 3.494}}},
    {{16384, 4096, 1024}, {0.802, {1.231, 0.791}}},
    {{16384, 4096, 4096}, {2.704, {2.455, 2.091}}},
    {{16384, 4096, 14336}, {8.868, {6.723, 6.725}}},
    {{16384, 14336, 4096}, {8.871, {7.733, 6.747}}},
    {{16384, 8192, 28672}, {33.697, {23.040, 24.758}}},
    {{16384, 1024, 1024}, {0.705, {0.899, 0.975}}},
};

constexpr int64_t kLargestK = 28672;  // of the norm's kernels in bf16

// Bytes for each value of x and the norm's gradient [M,K], of the output [M,N], and of the weight
// [N,K], beside what the products read and write.
struct Traffic {
  double mk, mn, nk;
};

Traffic traffic(std::optional<Float8Recipe> recipe) {
  // Norm: x in, y out; its backward: dy and x in, dx out. Sigmoid: in, out; backward: dy and y in,
  // dx out.
  if (!recipe) return {4 + 6, 4 + 6, 0};
  // The norm writes the row copy in place of y; the column copy is made of x again. The sigmoid's
  // backward writes the row copy too, and the column copy reads its output. Weight: two copies.
  if (*recipe == Float8Recipe::kRowwise) return {3 + 3 + 6, 4 + 7 + 3, 6};
  // wgrad reads y and dy in bf16: they are written beside the row copies.
  return {5 + 6, 4 + 7, 6};
}

struct Tensors {
  at::Tensor x, dy;
};

Tensors random_tensors(const ops::Device& device, const LinearSize& size) {
  const auto options = device.options(at::kBFloat16);
  return {at::randn({size.m, size.k}, options), at::randn({size.m, size.n}, options)};
}

}  // namespace

std::vector<LinearSize> torchao_sizes() {
  std::vector<LinearSize> sizes;
  for (const TorchaoRow& row : kTorchao) sizes.push_back(row.size);
  return sizes;
}

std::optional<LinearMilliseconds> torchao_milliseconds(const LinearSize& size) {
  for (const TorchaoRow& row : kTorchao) {
    if (row.size == size) return row.milliseconds;
  }
  return std::nullopt;
}

double floor_milliseconds(const LinearSize& size, std::optional<Float8Recipe> recipe) {
  namespace h200 = ops::h200;
  const auto m = static_cast<double>(size.m), k = static_cast<double>(size.k),
             n = static_cast<double>(size.n);
  const double bf16 = 1 / h200::kMatmulFlops, fast = 1 / h200::kFloat8FastFlops,
               full = 1 / h200::kFloat8FullFlops;
  double forward = fast, dgrad = full, wgrad = full;
  if (!recipe) {
    forward = dgrad = wgrad = bf16;
  } else if (*recipe == Float8Recipe::kRowwiseWithGwHp) {
    wgrad = bf16;
  }
  const Traffic bytes = traffic(recipe);
  const double moved = bytes.mk * m * k + bytes.mn * m * n + bytes.nk * n * k;
  return 1e3 * (2 * m * n * k * (forward + dgrad + wgrad) + moved / h200::kCopyBytes);
}

LinearTiming time_float8_linear(const ops::Device& device, const LinearSize& size) {
  if (!device.is_cuda()) throw InputError("timing a float8 linear needs a CUDA device");
  const Tensors tensors = random_tensors(device, size);
  const auto milliseconds = [&](std::optional<Float8Recipe> recipe) {
    NormLinearSigmoid module(device, size, recipe, at::kBFloat16);
    return ops::median_milliseconds(device, {},
                                    [&] { module.forward_backward(tensors.x, tensors.dy); });
  };
  LinearTiming timing{.size = size, .measured = {.bf16 = milliseconds(std::nullopt)}};
  for (size_t i = 0; i < std::size(kFloat8Recipes); ++i) {
    timing.measured.float8[i] = milliseconds(kFloat8Recipes[i]);
  }
  return timing;
}

std::string kernels_of_float8_linear(const ops::Device& device, const LinearSize& size) {
  const Tensors tensors = random_tensors(device, size);
  std::string text;
  const auto add = [&](const char* precision, std::optional<Float8Recipe> recipe) {
    NormLinearSigmoid module(device, size, recipe, at::kBFloat16);
    const auto run = [&] { module.forward_backward(tensors.x, tensors.dy); };
    run();  // chooses the products' algorithms
    const KernelTimes times = measure_kernels_sync(run);
    std::vector<std::pair<double, std::string>> kernels;
    for (const auto& [name, entry] : times.by_name) kernels.push_back({entry.milliseconds, name});
    std::sort(kernels.rbegin(), kernels.rend());
    text += concat("M ", size.m, ", K ", size.k, ", N ", size.n, ", ", precision, "\n");
    for (const auto& [milliseconds, name] : kernels) {
      char line[160];
      std::snprintf(line, sizeof line, "%9.3f ms  %.120s\n", milliseconds, name.c_str());
      text += line;
    }
  };
  add("bf16", std::nullopt);
  for (const Float8Recipe recipe : kFloat8Recipes) add(recipe_name(recipe), recipe);
  return text;
}

std::vector<LinearSize> linear_sizes(const std::vector<int64_t>& ms, const std::vector<int64_t>& ks,
                                     const std::vector<int64_t>& ns) {
  if (ms.empty() || ks.empty() || ns.empty()) {
    throw InputError("float8_linear: give --M, --K and --N together, or none of them");
  }
  for (const int64_t k : ks) {
    if (k > kLargestK) {
      throw InputError(concat("float8_linear: the bench's LayerNorm takes a K of at most ",
                              kLargestK, ", got ", k));
    }
  }
  std::vector<LinearSize> sizes;
  for (const int64_t m : ms) {
    for (const int64_t k : ks) {
      for (const int64_t n : ns) sizes.push_back({m, k, n});
    }
  }
  return sizes;
}

}  // namespace titan
