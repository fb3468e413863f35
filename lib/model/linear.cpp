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

bool wgrad_in_float8(const WeightRun& run) { return run.recipe == Float8Recipe::kRowwise; }

}  // namespace

at::Tensor linear_forward(const StepContext& context, const Weight& weight, const at::Tensor& x,
                          const at::Tensor& residual, at::Tensor* column_amax) {
  Float8Tensor x_row;  // shared by the runs
  if (column_amax != nullptr && std::ranges::any_of(weight.runs, wgrad_in_float8)) {
    float8::RowCopy copy = float8::quantize_rows_with_column_amax(x);
    x_row = copy.row;
    *column_amax = copy.column_amax;
  }
  at::Tensor y = at::empty({x.size(0), weight.shape[0]}, x.options());
  for (const WeightRun& run : weight.runs) {
    at::Tensor out = columns(y, run);
    const at::Tensor addend = residual.defined() ? columns(residual, run) : at::Tensor();
    if (run.recipe) {
      if (!x_row.defined()) x_row = float8::quantize_rows(x);
      float8::matmul_out(context.device, x_row, run.row, out, addend, Accumulation::kFast,
                         run.emulated);
    } else {
      ops::linear_forward_out(context.device, x, rows(weight.compute, run), out, addend);
    }
  }
  return y;
}

LinearGradient linear_gradient(const Weight& weight, const at::Tensor& dy) {
  LinearGradient gradient{dy, {}};
  for (const WeightRun& run : weight.runs) {
    float8::Float8Copies& copies = gradient.copies.emplace_back();
    if (wgrad_in_float8(run)) {
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

void linear_backward_weight(const StepContext& context, const Weight& weight,
                            const LinearGradient& gradient, const at::Tensor& x,
                            const at::Tensor& column_amax, at::Tensor dweight, bool accumulate) {
  Float8Tensor x_column;  // shared by the runs
  for (size_t i = 0; i < weight.runs.size(); ++i) {
    const WeightRun& run = weight.runs[i];
    at::Tensor out = rows(dweight, run);
    if (wgrad_in_float8(run)) {
      if (!x_column.defined()) {
        x_column = column_amax.defined() ? float8::quantize_columns(x, column_amax)
                                         : float8::quantize_columns(x);
      }
      float8::matmul_out(context.device, gradient.copies[i].column, x_column, out,
                         accumulate ? out : at::Tensor(), Accumulation::kFull, run.emulated);
    } else {
      ops::linear_backward_weight(context.device, columns(gradient.dy, run), x, out, accumulate);
    }
  }
}

}  // namespace titan
