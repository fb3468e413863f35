#include "lib/model/linear.hpp"

#include <ATen/ATen.h>

#include <algorithm>

#include "lib/float8/matmul.hpp"
#include "lib/ops/matmul.hpp"

namespace titan {
namespace {

using float8::Accumulation;

at::Tensor columns(const at::Tensor& tensor, const WeightRun& run) {
  return tensor.narrow(1, run.first_row, run.rows);
}

at::Tensor rows(const at::Tensor& tensor, const WeightRun& run) {
  return tensor.narrow(0, run.first_row, run.rows);
}

struct RowRange {
  int64_t first, count;
};
// Halves meet at a multiple of 16 rows, which float8 products ask for.
RowRange part_of(int64_t rows, Rows half) {
  const int64_t middle = rows / 32 * 16;
  if (half == Rows::kFirstHalf) return {0, middle};
  if (half == Rows::kSecondHalf) return {middle, rows - middle};
  return {0, rows};
}

bool in_float8(const WeightRun& run) { return run.recipe.has_value(); }

bool wgrad_in_float8(const WeightRun& run) { return run.recipe == Float8Recipe::kRowwise; }

}  // namespace

bool reads_only_copies(const Weight& weight) {
  return weight.runs.size() == 1 && in_float8(weight.runs.front());
}

bool wgrad_reads_only_copies(const Weight& weight) {
  return weight.runs.size() == 1 && wgrad_in_float8(weight.runs.front());
}

LinearInput linear_input(const Weight& weight, const at::Tensor& x) {
  LinearInput input{x, {}, x.scalar_type()};
  if (std::ranges::any_of(weight.runs, wgrad_in_float8)) {
    input.copy = float8::quantize_rows_with_column_amax(x);
  } else if (std::ranges::any_of(weight.runs, in_float8)) {
    input.copy.row = float8::quantize_rows(x);
  }
  return input;
}

LinearInput narrow_tokens(const LinearInput& input, int64_t first, int64_t count) {
  LinearInput part = input;
  if (part.x.defined()) part.x = part.x.narrow(0, first, count);
  if (part.copy.row.defined()) part.copy.row = part.copy.row.narrow_rows(first, count);
  return part;
}

at::Tensor linear_forward(const StepContext& context, const Weight& weight,
                          const LinearInput& input, const at::Tensor& residual) {
  const at::Tensor& any = input.x.defined() ? input.x : input.copy.row.values;
  at::Tensor y = at::empty({any.size(0), weight.shape[0]}, any.options().dtype(input.dtype));
  linear_forward_out(context, weight, input, y, residual);
  return y;
}

void linear_forward_out(const StepContext& context, const Weight& weight, const LinearInput& input,
                        at::Tensor y, const at::Tensor& residual) {
  for (const WeightRun& run : weight.runs) {
    at::Tensor out = columns(y, run);
    const at::Tensor addend = residual.defined() ? columns(residual, run) : at::Tensor();
    if (run.recipe) {
      float8::matmul_out(context.device, input.copy.row, run.row, out, addend, Accumulation::kFast,
                         run.emulated);
    } else {
      ops::linear_forward_out(context.device, input.x, rows(weight.compute, run), out, addend);
    }
  }
}

LinearGradient linear_gradient(const Weight& weight, const at::Tensor& dy,
                               const float8::RowCopy& copy) {
  LinearGradient gradient{dy, {}};
  for (const WeightRun& run : weight.runs) {
    float8::Float8Copies& copies = gradient.copies.emplace_back();
    if (copy.row.defined()) {
      copies.row = copy.row;
      if (wgrad_in_float8(run)) copies.column = float8::quantize_columns(dy, copy.column_amax);
    } else if (wgrad_in_float8(run)) {
      copies = float8::quantize_rows_and_columns(columns(dy, run));
    } else if (run.recipe) {
      copies.row = float8::quantize_rows(columns(dy, run));
    }
  }
  return gradient;
}

at::Tensor linear_backward_input(const StepContext& context, const Weight& weight,
                                 const LinearGradient& gradient) {
  at::Tensor dx = at::empty({gradient.dy.size(0), weight.shape[1]}, gradient.dy.options());
  linear_backward_input_out(context, weight, gradient, dx);
  return dx;
}

void linear_backward_input_out(const StepContext& context, const Weight& weight,
                               const LinearGradient& gradient, at::Tensor dx) {
  at::Tensor sum;  // what earlier runs left in dx
  for (size_t i = 0; i < weight.runs.size(); ++i) {
    const WeightRun& run = weight.runs[i];
    if (run.recipe) {
      float8::matmul_out(context.device, gradient.copies[i].row, run.column, dx, sum,
                         Accumulation::kFull, run.emulated);
    } else {
      ops::linear_backward_input_out(context.device, columns(gradient.dy, run),
                                     rows(weight.compute, run), dx, sum);
    }
    sum = dx;
  }
}

WgradInput wgrad_input(const Weight& weight, const at::Tensor& x, const at::Tensor& column_amax) {
  WgradInput input{x, {}};
  if (std::ranges::any_of(weight.runs, wgrad_in_float8)) {
    input.column = float8::quantize_columns(x, column_amax);
  }
  return input;
}

void linear_backward_weight(const StepContext& context, const Weight& weight,
                            const LinearGradient& gradient, const WgradInput& input,
                            at::Tensor dweight, bool accumulate, Rows half) {
  for (size_t i = 0; i < weight.runs.size(); ++i) {
    const WeightRun& run = weight.runs[i];
    const auto [first, count] = part_of(run.rows, half);
    if (count == 0) continue;
    at::Tensor out = rows(dweight, run).narrow(0, first, count);
    if (wgrad_in_float8(run)) {
      float8::matmul_out(context.device, gradient.copies[i].column.narrow_rows(first, count),
                         input.column, out, accumulate ? out : at::Tensor(), Accumulation::kFull,
                         run.emulated);
    } else {
      ops::linear_backward_weight(context.device, columns(gradient.dy, run).narrow(1, first, count),
                                  input.x, out, accumulate);
    }
  }
}

}  // namespace titan
