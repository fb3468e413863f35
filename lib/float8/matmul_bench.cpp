#include "lib/float8/matmul_bench.hpp"

#include <ATen/ATen.h>

#include <algorithm>
#include <cstdio>

#include "lib/float8/matmul.hpp"
#include "lib/float8/quantize.hpp"
#include "lib/ops/device_timer.hpp"
#include "lib/ops/matmul.hpp"

namespace titan::float8 {
namespace {

constexpr double kSecondsEach = 0.1;  // of products back to back, at the rate expected
constexpr int kMostRuns = 200;        // launches that wait in a stream without holding up the host

// TF/s of `product`, which has 2 MNK FLOPs.
template <class Product>
double rate(const ops::Device& device, int64_t m, int64_t n, int64_t k, double expected,
            const Product& product) {
  const double flops =
      2.0 * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k);
  const int runs = std::clamp(static_cast<int>(kSecondsEach * expected / flops), 3, kMostRuns);
  const double ms = ops::median_milliseconds(device, {.warm_up = 1, .runs = runs}, product);
  return flops / ms / 1e9;
}

at::Tensor normal(const ops::Device& device, int64_t rows, int64_t columns) {
  return at::randn({rows, columns}, device.options(at::kBFloat16));
}

}  // namespace

MatmulRates time_bf16_matmuls(const ops::Device& device, int64_t m, int64_t n, int64_t k) {
  const at::Tensor x = normal(device, m, k), w = normal(device, n, k).mul_(0.02);
  const at::Tensor dy = normal(device, m, n), residual = normal(device, m, n);
  at::Tensor dw = at::empty_like(w);
  const auto tf = [&](auto product) { return rate(device, m, n, k, 700e12, product); };
  return {.forward = tf([&] { ops::linear_forward(device, x, w); }),
          .forward_residual = tf([&] { ops::linear_forward(device, x, w, residual); }),
          .dgrad = tf([&] { ops::linear_backward_input(device, dy, w); }),
          .wgrad = tf([&] { ops::linear_backward_weight(device, dy, x, dw, false); })};
}

MatmulRates time_float8_matmuls(const ops::Device& device, int64_t m, int64_t n, int64_t k) {
  at::Tensor y = normal(device, m, n), residual = normal(device, m, n);
  at::Tensor dx = normal(device, m, k), dw = normal(device, n, k).mul_(0.02);
  // The operands' values are those of the tensors that the products then write over.
  const Float8Copies x = quantize_rows_and_columns(dx), w = quantize_rows_and_columns(dw),
                     dy = quantize_rows_and_columns(y);
  const auto tf = [&](const Float8Tensor& a, const Float8Tensor& b, const at::Tensor& out,
                      const at::Tensor& addend, Accumulation accumulation) {
    return rate(device, m, n, k, 1300e12,
                [&] { matmul_out(device, a, b, out, addend, accumulation); });
  };
  return {.forward = tf(x.row, w.row, y, {}, Accumulation::kFast),
          .forward_residual = tf(x.row, w.row, y, residual, Accumulation::kFast),
          .dgrad = tf(dy.row, w.column, dx, {}, Accumulation::kFull),
          .wgrad = tf(dy.column, x.column, dw, {}, Accumulation::kFull)};
}

std::string format_header() {
  char line[200];
  std::snprintf(line, sizeof line, "%-8s %7s %7s %7s  %-7s %13s %13s %13s %13s   %s", "name", "M",
                "N", "K", "", "forward", "+residual", "dgrad", "wgrad", "TF/s, % of the ceiling");
  return line;
}

std::string format(const std::string& name, int64_t m, int64_t n, int64_t k, const char* precision,
                   const MatmulRates& rates, const MatmulRates& ceiling) {
  char line[200];
  std::snprintf(line, sizeof line, "%-8s %7ld %7ld %7ld  %-7s", name.c_str(), static_cast<long>(m),
                static_cast<long>(n), static_cast<long>(k), precision);
  std::string text = line;
  for (double MatmulRates::*product : {&MatmulRates::forward, &MatmulRates::forward_residual,
                                       &MatmulRates::dgrad, &MatmulRates::wgrad}) {
    std::snprintf(line, sizeof line, " %6.0f %4.0f %%", rates.*product,
                  100 * rates.*product / (ceiling.*product));
    text += line;
  }
  return text;
}

}  // namespace titan::float8
