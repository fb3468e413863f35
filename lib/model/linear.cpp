#include "lib/model/linear.hpp"

#include <ATen/ATen.h>

#include "lib/float8/matmul.hpp"
#include "lib/float8/quantize.hpp"
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

}  // namespace

at::Tensor linear_forward(const StepContext& context, const Weight& weight, const at::Tensor& x,
                          const at::Tensor& residual) {
  at::Tensor y = at::empty({x.size(0), weight.compute.size(0)}, x.options());
  Float8Tensor x_row;  // shared by the runs
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

at::Tensor linear_backward_input(const StepContext& context, const Weight& weight,
                                 const at::Tensor& dy) {
  at::Tensor dx = at::empty({dy.size(0), weight.compute.size(1)}, dy.options());
  linear_backward_input_out(context, weight, dy, dx);
  return dx;
}

void linear_backward_input_out(const StepContext& context, const Weight& weight,
                               const at::Tensor& dy, at::Tensor dx) {
  at::Tensor sum;  // what earlier runs left in dx
  for (const WeightRun& run : weight.runs) {
    const at::Tensor part = columns(dy, run);
    if (run.recipe) {
      float8::matmul_out(context.device, float8::quantize_rows(part), run.column, dx, sum,
                         Accumulation::kFull, run.emulated);
    } else {
      ops::linear_backward_input_out(context.device, part, rows(weight.compute, run), dx, sum);
    }
    sum = dx;
  }
}

void linear_backward_weight(const StepContext& context, const Weight& weight, const at::Tensor& dy,
                            const at::Tensor& x, at::Tensor dweight, bool accumulate) {
  Float8Tensor x_column;  // shared by the runs
  for (const WeightRun& run : weight.runs) {
    const at::Tensor part = columns(dy, run);
    at::Tensor out = rows(dweight, run);
    if (run.recipe == Float8Recipe::kRowwise) {
      if (!x_column.defined()) x_column = float8::quantize_columns(x);
      float8::matmul_out(context.device, float8::quantize_columns(part), x_column, out,
                         accumulate ? out : at::Tensor(), Accumulation::kFull, run.emulated);
    } else {
      ops::linear_backward_weight(context.device, part, x, out, accumulate);
    }
  }
}

}  // namespace titan
