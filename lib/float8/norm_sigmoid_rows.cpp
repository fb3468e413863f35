// Rows of the op table for LayerNorm and the sigmoid's backward with their copies.
#include "lib/float8/norm_sigmoid.hpp"
#include "lib/float8/op_table.hpp"
#include "lib/float8/table_rows.hpp"

namespace titan::float8 {
namespace {

constexpr double kEps = 1e-5;

// A part of a warp, one warp and a part, many rows of each, wide rows, the widest in fp32; then
// work E's, with the widest in bf16.
const Size kSizes[] = {{16, 16},
                       {48, 272},
                       {2320, 96},
                       {20480, 48},
                       {1200, 2048},
                       {192, 8192},
                       {144, 14336},
                       {16384, 1024, true},
                       {16384, 4096, true},
                       {16384, 14336, true},
                       {16384, 28672, true}};

at::Tensor values(const Size& size, at::Device device, at::ScalarType dtype) {
  const at::Tensor x = (at::randn({size.rows, size.cols}, device) * 3 + 1).to(dtype);
  return with_hostile_rows(x, size, 1e15);
}

// x, and the mean and rstd that the op itself gives: sums in another order have other bits.
Tensors norm_inputs(const Size& size, at::Device device, at::ScalarType dtype) {
  const at::Tensor x = values(size, device, dtype);
  const LayerNormResult norm = layer_norm(x, kEps);
  return {x, norm.mean, norm.rstd, reference::column_amax(norm.y)};
}

// dy, y.
Tensors sigmoid_inputs(const Size& size, at::Device device, at::ScalarType dtype) {
  return {values(size, device, dtype),
          at::randn({size.rows, size.cols}, device).sigmoid().to(dtype)};
}

Tensors tensors(const LayerNormResult& norm) {
  Tensors result = {norm.mean, norm.rstd};
  if (norm.y.defined()) result.push_back(norm.y);
  return norm.copy.row.defined() ? result + tensors(norm.copy) : result;
}

Tensors tensors(const SigmoidGradient& gradient) {
  return Tensors{gradient.dx} + tensors(gradient.copy);
}

// y as the statistics among the inputs give it.
at::Tensor reference_y(const Tensors& in) { return reference::layer_norm(in[0], in[1], in[2]); }

void add_norm_copy(std::vector<ops::Op>& table, const char* name, bool with_y,
                   bool with_column_amax, double bytes) {
  table.push_back(
      {.name = name,
       .fused =
           [=](const Tensors& in) {
             return tensors(layer_norm_copy(in[0], kEps, with_y, with_column_amax));
           },
       .reference =
           [=](const Tensors& in) {
             const at::Tensor y = reference_y(in);
             RowCopy copy{reference::quantize_rows(y), {}};
             if (with_column_amax) copy.column_amax = reference::column_amax(y);
             return tensors(LayerNormResult{with_y ? y : at::Tensor(), copy, in[1], in[2]});
           },
       .cases = cases(kSizes, 'M', 'K', bytes, norm_inputs)});
}

void add_sigmoid(std::vector<ops::Op>& table, const char* name, bool with_column_amax) {
  table.push_back({.name = name,
                   .fused =
                       [=](const Tensors& in) {
                         return tensors(sigmoid_backward(in[0], in[1], with_column_amax));
                       },
                   .reference =
                       [=](const Tensors& in) {
                         return tensors(
                             reference::sigmoid_backward(in[0], in[1], with_column_amax));
                       },
                   .cases = cases(kSizes, 'M', 'K', 7, sigmoid_inputs)});
}

}  // namespace

void norm_sigmoid_rows_of_table(std::vector<ops::Op>& table) {
  // As the bench wants them in bf16, rowwise and rowwise_with_gw_hp.
  table.push_back({.name = "layer_norm",
                   .fused = [](const Tensors& in) { return tensors(layer_norm(in[0], kEps)); },
                   .reference =
                       [](const Tensors& in) {
                         return Tensors{in[1], in[2], reference_y(in)};
                       },
                   .cases = cases(kSizes, 'M', 'K', 4, norm_inputs)});
  add_norm_copy(table, "quantize_layer_norm", /*with_y=*/false, /*with_column_amax=*/true, 3);
  add_norm_copy(table, "quantize_layer_norm_gw_hp", /*with_y=*/true, /*with_column_amax=*/false, 5);
  table.push_back({.name = "quantize_layer_norm_columns",
                   .fused =
                       [](const Tensors& in) {
                         return tensors(layer_norm_columns(in[0], in[1], in[2], in[3]));
                       },
                   .reference =
                       [](const Tensors& in) {
                         return tensors(reference::quantize_columns(reference_y(in), in[3]));
                       },
                   .cases = cases(kSizes, 'M', 'K', 3, norm_inputs)});
  add_sigmoid(table, "quantize_sigmoid_backward", /*with_column_amax=*/true);
  add_sigmoid(table, "quantize_sigmoid_backward_gw_hp", /*with_column_amax=*/false);
}

}  // namespace titan::float8
