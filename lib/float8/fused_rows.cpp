// Rows of the op table for the ops that produce and copy at once.
#include "lib/float8/fused.hpp"
#include "lib/float8/op_table.hpp"
#include "lib/float8/table_rows.hpp"
#include "lib/ops/rms_norm.hpp"

namespace titan::float8 {
namespace {

constexpr double kEps = 1e-5;

// A part of a warp, one warp and a part, many rows of each, odd counts of tiles, wide rows; then
// the 8B model's.
const Size kNormSizes[] = {{16, 16},    {48, 272},   {2320, 96},         {1200, 2048},
                           {336, 5120}, {192, 8192}, {16384, 4096, true}};
const Size kSwigluSizes[] = {{16, 16},    {48, 272},    {2320, 96},  {320, 3584},
                             {160, 8192}, {144, 14336}, {32, 28672}, {16384, 14336, true}};

at::Tensor values(const Size& size, at::Device device, at::ScalarType dtype) {
  return with_hostile_rows(at::randn({size.rows, size.cols}, device).to(dtype), size, 1e30);
}

// x, weight, rstd, column amax of y.
Tensors norm_inputs(const Size& size, at::Device device, at::ScalarType dtype) {
  const at::Tensor x = values(size, device, dtype);
  const at::Tensor weight = (1 + 0.1 * at::randn({size.cols}, device)).to(dtype);
  const ops::RmsNormResult norm = ops::rms_norm(x, weight, kEps);
  return {x, weight, norm.rstd, reference::column_amax(norm.y)};
}

// x, weight, rstd, column amax, dy, residual gradient, dweight so far.
Tensors norm_backward_inputs(const Size& size, at::Device device, at::ScalarType dtype) {
  Tensors inputs = norm_inputs(size, device, dtype);
  inputs.push_back(values(size, device, dtype));
  inputs.push_back(at::randn({size.rows, size.cols}, device).to(dtype));
  inputs.push_back(at::randn({size.cols}, device));
  return inputs;
}

// gate_up, dh.
Tensors swiglu_inputs(const Size& size, at::Device device, at::ScalarType dtype) {
  return {values({size.rows, 2 * size.cols, size.timed}, device, dtype),
          at::randn({size.rows, size.cols}, device).to(dtype)};
}

// gate_up, column amax of h.
Tensors swiglu_column_inputs(const Size& size, at::Device device, at::ScalarType dtype) {
  const at::Tensor gate_up = swiglu_inputs(size, device, dtype)[0];
  return {gate_up, unfused::swiglu(gate_up, true).column_amax};
}

template <class Op>
auto norm(const Op& op, bool with_column_amax) {
  return [=](const Tensors& in) {
    const RmsNormCopy result = op(in[0], in[1], kEps, with_column_amax);
    return tensors(result.y) + Tensors{result.rstd};
  };
}

template <class Op>
auto norm_columns(const Op& op) {
  return [=](const Tensors& in) { return tensors(op(in[0], in[1], in[2], in[3])); };
}

// As in the recipe rowwise, or as in rowwise_with_gw_hp, which wants y in high precision.
template <class Op>
auto norm_backward(const Op& op, bool rowwise) {
  return [=](const Tensors& in) {
    const at::Tensor dweight = in[6].clone();
    at::Tensor y;
    const GradientCopy result = op(in[4], in[0], in[1], in[2], in[5], dweight, /*accumulate=*/true,
                                   rowwise ? nullptr : &y, rowwise);
    const Tensors gradients = tensors(result.copy) + Tensors{result.dx, dweight};
    return rowwise ? gradients : gradients + Tensors{y};
  };
}

template <class Op>
auto swiglu_forward(const Op& op, bool with_column_amax) {
  return [=](const Tensors& in) { return tensors(op(in[0], with_column_amax)); };
}

template <class Op>
auto columns_of_swiglu(const Op& op) {
  return [=](const Tensors& in) { return tensors(op(in[0], in[1])); };
}

// dh is compared where it becomes h.
Tensors swiglu_backward(const Tensors& in, bool fused, bool rowwise) {
  const at::Tensor gate_up = in[0].clone(), dh = in[1].clone();
  const RowCopy copy = fused ? swiglu_backward_(dh, gate_up, /*restore_h=*/!rowwise, rowwise)
                             : unfused::swiglu_backward_(dh, gate_up, rowwise);
  const Tensors gradients = tensors(copy) + Tensors{gate_up};
  return rowwise ? gradients : gradients + Tensors{dh};
}

}  // namespace

void fused_rows_of_table(std::vector<ops::Op>& table) {
  for (const bool rowwise : {true, false}) {
    const std::string recipe = rowwise ? "" : "_gw_hp";
    table.push_back({.name = "quantize_rms_norm" + recipe,
                     .fused = norm(rms_norm, rowwise),
                     .reference = norm(unfused::rms_norm, rowwise),
                     .cases = cases(kNormSizes, 'T', 'D', 3, norm_inputs)});
    table.push_back({.name = "quantize_rms_norm_backward" + recipe,
                     .fused = norm_backward(rms_norm_backward, rowwise),
                     .reference = norm_backward(unfused::rms_norm_backward, rowwise),
                     .cases = cases(kNormSizes, 'T', 'D', rowwise ? 9 : 11, norm_backward_inputs)});
    table.push_back({.name = "quantize_swiglu" + recipe,
                     .fused = swiglu_forward(swiglu, rowwise),
                     .reference = swiglu_forward(unfused::swiglu, rowwise),
                     .cases = cases(kSwigluSizes, 'T', 'F', 5, swiglu_inputs)});
    table.push_back(
        {.name = "quantize_swiglu_backward" + recipe,
         .fused = [=](const Tensors& in) { return swiglu_backward(in, true, rowwise); },
         .reference = [=](const Tensors& in) { return swiglu_backward(in, false, rowwise); },
         .timed_run = [=](const Tensors& in) { swiglu_backward_(in[1], in[0], !rowwise, rowwise); },
         .cases = cases(kSwigluSizes, 'T', 'F', rowwise ? 12 : 14, swiglu_inputs),
         .restored = {0, 1}});
  }
  table.push_back({.name = "quantize_rms_norm_columns",
                   .fused = norm_columns(rms_norm_columns),
                   .reference = norm_columns(unfused::rms_norm_columns),
                   .cases = cases(kNormSizes, 'T', 'D', 3, norm_inputs)});
  table.push_back({.name = "quantize_swiglu_columns",
                   .fused = columns_of_swiglu(swiglu_columns),
                   .reference = columns_of_swiglu(unfused::swiglu_columns),
                   .cases = cases(kSwigluSizes, 'T', 'F', 5, swiglu_column_inputs)});
}

}  // namespace titan::float8
