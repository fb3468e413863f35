// For test_optim.py: optimizer steps on values from stdin.
//   optimizer_probe AdamW|Adam MASTER GRADIENT MOMENT BETA1 BETA2 EPS WEIGHT_DECAY MAX_NORM COUNT
//                   LR...
//     MOMENT: MASTER's dtype, or "stochastic": bf16, rounded stochastically
//     stdin: fp64 parameter[COUNT], then gradient[COUNT] for each LR; stdout: fp64 parameter,
//     exp_avg, exp_avg_sq and bf16 copy, [COUNT] each, then the last step's norm
#include <ATen/ATen.h>

#include <cstdio>
#include <string>
#include <vector>

#include "lib/base/error.hpp"
#include "lib/ops/adamw.hpp"
#include "lib/ops/gradient_norm.hpp"

namespace titan {
namespace {

using Words = std::vector<std::string>;

at::ScalarType dtype(const std::string& word) {
  if (word == "float64") return at::kDouble;
  if (word == "float32") return at::kFloat;
  if (word == "bfloat16") return at::kBFloat16;
  throw Error("unknown dtype " + word);
}

at::Tensor read_values(int64_t count, at::ScalarType type) {
  at::Tensor values = at::empty({count}, at::kDouble);
  const auto wanted = static_cast<size_t>(count);
  TITAN_CHECK(std::fread(values.data_ptr(), sizeof(double), wanted, stdin) == wanted,
              "stdin ended early");
  return values.to(type);
}

void write_values(const at::Tensor& tensor) {
  const at::Tensor values = tensor.to(at::kDouble).contiguous();
  std::fwrite(values.data_ptr(), sizeof(double), static_cast<size_t>(values.numel()), stdout);
}

void run_steps(const Words& words) {
  const at::ScalarType master = dtype(words.at(1)), gradient = dtype(words.at(2));
  std::optional<ops::MomentRounding> rounding;
  if (words.at(3) == "stochastic") rounding = {.key = ops::rounding_key(1, "w"), .block = {}};
  ops::AdamWSettings settings{.beta1 = std::stod(words.at(4)),
                              .beta2 = std::stod(words.at(5)),
                              .epsilon = std::stod(words.at(6)),
                              .weight_decay = std::stod(words.at(7)),
                              .decoupled = words.at(0) == "AdamW"};
  const ops::StepDecision decision{std::stod(words.at(8)), settings.beta1, settings.beta2};
  const int64_t count = std::stoll(words.at(9));
  const auto options = at::TensorOptions().dtype(rounding ? at::kBFloat16 : dtype(words.at(3)));
  ops::AdamWTensors tensors{.master = read_values(count, master),
                            .gradient = {},
                            .exp_avg = at::zeros({count}, options),
                            .exp_avg_sq = at::zeros({count}, options),
                            .compute = at::zeros({count}, at::kBFloat16)};
  const ops::StepControls controls(at::kCPU);
  for (size_t i = 10; i < words.size(); ++i) {
    settings.learning_rate = std::stod(words[i]);
    tensors.gradient = read_values(count, gradient);
    ops::decide_step(decision, ops::square_sum({tensors.gradient}, at::kCPU), {}, controls);
    ops::adamw_(tensors, settings, controls, rounding);
  }
  write_values(tensors.master);
  write_values(tensors.exp_avg);
  write_values(tensors.exp_avg_sq);
  write_values(tensors.compute);
  write_values(controls.norm());
}

}  // namespace
}  // namespace titan

int main(int argc, char** argv) {
  try {
    titan::run_steps(titan::Words(argv + 1, argv + argc));
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "optimizer_probe: %s\n", error.what());
    return 1;
  }
}
