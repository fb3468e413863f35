// Rows of the op table for what happens once a step or once a run: AdamW, the gradient norm and
// initial values.
#include <ATen/ATen.h>

#include <cmath>

#include "lib/base/error.hpp"
#include "lib/ops/adamw.hpp"
#include "lib/ops/element_type.hpp"
#include "lib/ops/gradient_norm.hpp"
#include "lib/ops/initialise.hpp"
#include "lib/ops/op_table.hpp"

namespace titan::ops {
namespace {

struct Size {
  int64_t rows, cols;
  bool timed = false;
};

// Single values, odd counts, several blocks, the debug model's largest, one of work A's.
const Size kSizes[] = {{1, 1}, {1, 3}, {3, 701}, {257, 1025}, {2048, 256}, {28672, 4096, true}};

template <class Inputs>
std::vector<OpCase> cases(double bytes_for_a_value, const Inputs& inputs) {
  std::vector<OpCase> result;
  for (const Size& size : kSizes) {
    result.push_back({.shape = concat(size.rows, " x ", size.cols),
                      .inputs = [=](at::Device device,
                                    at::ScalarType dtype) { return inputs(size, device, dtype); },
                      .bytes = bytes_for_a_value * static_cast<double>(size.rows * size.cols),
                      .timed = size.timed});
  }
  return result;
}

constexpr AdamWSettings kSettings{.learning_rate = 0.01, .weight_decay = 0.1};
constexpr double kSquareSum = 9.0, kMaxNorm = 1.5;
constexpr int64_t kStep = 7;

StepControls controls_for(at::Device device) {
  StepControls controls(device);
  controls.step().fill_(kStep - 1);
  const auto options = at::TensorOptions().device(device);
  decide_step({kMaxNorm, kSettings.beta1, kSettings.beta2},
              at::full({}, kSquareSum, options.dtype(at::kDouble)),
              at::full({}, 2.5, options.dtype(at::kFloat)), controls);
  return controls;
}

AdamWTensors adamw_tensors(const Tensors& in) {
  return {.master = in[0],
          .gradient = in[1],
          .exp_avg = in[2],
          .exp_avg_sq = in[3],
          .compute = at::empty_like(in[0], at::kBFloat16)};
}

// What is kept in which dtype: masters and moments in fp32, both in the gradient's, or masters in
// fp32 and moments in bf16, rounded stochastically: of consecutive elements of the whole parameter,
// or of the left half of its columns.
enum class State { kFloat, kNarrow, kBfloat16Moments, kBfloat16MomentsOfColumns };

std::optional<MomentRounding> rounding_of(State state, const at::Tensor& master) {
  if (state == State::kFloat || state == State::kNarrow) return std::nullopt;
  TensorBlock block{.first_index = 4096};
  if (state == State::kBfloat16MomentsOfColumns) {
    block.row_length = master.size(1);
    block.row_stride = 2 * master.size(1);
  }
  return MomentRounding{.key = rounding_key(42, "w"), .block = block};
}

Tensors fused_adamw(const Tensors& in, State state) {
  AdamWTensors t = adamw_tensors({in[0].clone(), in[1], in[2].clone(), in[3].clone()});
  adamw_(t, kSettings, controls_for(in[0].device()), rounding_of(state, t.master));
  return {t.master, t.exp_avg, t.exp_avg_sq, t.compute};
}

// The oracle in fp64 rounds neither the moments nor the copy.
Tensors reference_adamw(const Tensors& in, State state) {
  const bool exact = in[0].scalar_type() == at::kDouble;
  AdamWTensors t = adamw_tensors({in[0].clone(), in[1], in[2].clone(), in[3].clone()});
  if (exact) t.compute.reset();
  reference::adamw_(t, kSettings, controls_for(in[0].device()).values_sync(),
                    exact ? std::nullopt : rounding_of(state, t.master));
  return {t.master, t.exp_avg, t.exp_avg_sq, exact ? t.master : t.compute};
}

void add_adamw(std::vector<Op>& table, const std::string& name, State state) {
  const bool is_stochastic = state != State::kFloat && state != State::kNarrow;
  const auto inputs = [=](const Size& size, at::Device device, at::ScalarType dtype) {
    const auto random = [&] { return at::randn({size.rows, size.cols}, device); };
    const at::ScalarType master = state == State::kNarrow ? dtype : at::kFloat;
    const at::ScalarType moment = is_stochastic ? at::kBFloat16 : master;
    return Tensors{random().to(master), random().to(dtype), (0.1 * random()).to(moment),
                   (0.1 * random().square()).to(moment)};
  };
  const auto timed = [=](const Tensors& in) {
    // Made once and never destroyed: its memory must not be given back after the driver is gone.
    static const auto* controls = new StepControls(controls_for(in[0].device()));
    adamw_(adamw_tensors(in), kSettings, *controls, rounding_of(state, in[0]));
  };
  const double bytes = state == State::kFloat ? 28 : state == State::kNarrow ? 16 : 20;
  table.push_back({.name = name,
                   .fused = [=](const Tensors& in) { return fused_adamw(in, state); },
                   .reference = [=](const Tensors& in) { return reference_adamw(in, state); },
                   .timed_run = timed,
                   .cases = cases(bytes, inputs)});
}

void add_gradient_norm(std::vector<Op>& table) {
  const auto inputs = [](const Size& size, at::Device device, at::ScalarType dtype) {
    return Tensors{at::randn({size.rows, size.cols}, device).to(dtype),
                   at::randn({size.timed ? 0 : 5}, device), at::randn({1}, device).to(dtype)};
  };
  table.push_back({.name = "gradient_norm",
                   .fused =
                       [](const Tensors& in) {
                         return Tensors{square_sum(in, in[0].device()).sqrt().reshape({1})};
                       },
                   .reference =
                       [](const Tensors& in) {
                         Tensors norms;
                         for (const at::Tensor& tensor : in) {
                           norms.push_back(tensor.to(compute_type(tensor)).norm());
                         }
                         for (at::Tensor& norm : norms) norm = norm.to(compute_type(in[0]));
                         return Tensors{at::stack(norms).norm().to(at::kDouble).reshape({1})};
                       },
                   .cases = cases(2, inputs)});
}

// From an index that no Philox block starts at: consecutive elements, or `columns`, the left part
// of a matrix with an odd number of columns.
void add_initialise(std::vector<Op>& table, const std::string& name, bool columns) {
  const auto values = [=](const at::Tensor& like, at::ScalarType type, at::Device device) {
    at::Tensor out = at::empty(like.sizes(), at::TensorOptions().device(device).dtype(type));
    TensorBlock block{.first_index = 4097};
    if (columns) {
      block.row_length = like.size(1);
      block.row_stride = 2 * like.size(1) + 1;
    }
    initialise_(out, {.kind = Initializer::Kind::kTruncatedNormal, .std = 1.5}, 42, "w", block);
    return out;
  };
  const auto inputs = [](const Size& size, at::Device device, at::ScalarType dtype) {
    return Tensors{at::empty({size.rows, size.cols}, device).fill_(0.0).to(dtype)};
  };
  Op op{.name = name,
        .fused =
            [=](const Tensors& in) {
              return Tensors{values(in[0], in[0].scalar_type(), in[0].device())};
            },
        .reference =
            [=](const Tensors& in) {
              return Tensors{values(in[0], at::kDouble, at::kCPU).to(in[0].options())};
            },
        .cases = cases(2, inputs)};
  // Bound by arithmetic, and done once a run.
  std::erase_if(op.cases, [](const OpCase& op_case) { return op_case.timed; });
  table.push_back(std::move(op));
}

}  // namespace

void optimizer_rows(std::vector<Op>& table) {
  add_adamw(table, "adamw", State::kFloat);
  add_adamw(table, "adamw_narrow", State::kNarrow);
  add_adamw(table, "adamw_bf16_moments", State::kBfloat16Moments);
  add_adamw(table, "adamw_bf16_moments_of_columns", State::kBfloat16MomentsOfColumns);
  add_gradient_norm(table);
  add_initialise(table, "initialise", false);
  add_initialise(table, "initialise_columns", true);
}

}  // namespace titan::ops
