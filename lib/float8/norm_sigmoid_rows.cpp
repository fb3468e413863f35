// Rows of the op table for LayerNorm and the sigmoid's backward with their copies.
#include <ATen/ATen.h>

#include <cmath>

#include "lib/base/error.hpp"
#include "lib/float8/norm_sigmoid.hpp"
#include "lib/float8/op_table.hpp"

namespace titan::float8 {
namespace {

using ops::OpCase;
using ops::Tensors;

constexpr double kEps = 1e-5;

struct Size {
  int64_t rows, cols;
  bool timed = false;
};

// A part of a warp, one warp and a part, many rows of each, wide rows, the widest in fp32; then
// work E's, with the widest in bf16.
const Size kSizes[] = {{16, 16},
                       {48, 272},
                       {2320, 96},
                       {1200, 2048},
                       {192, 8192},
                       {144, 14336},
                       {16384, 1024, true},
                       {16384, 4096, true},
                       {16384, 14336, true},
                       {16384, 28672, true}};

at::Tensor values(const Size& size, at::Device device, at::ScalarType dtype) {
  at::Tensor x = (at::randn({size.rows, size.cols}, device) * 3 + 1).to(dtype);
  if (size.timed) return x;
  // Rows of zeros, of subnormal and of huge values, NaN and infinity.
  x[1].zero_();
  x[2].mul_(1e-38);
  x[3].mul_(1e15);
  x[4][5] = NAN;
  x[5][6] = INFINITY;
  return x;
}

// x, and the mean and rstd that the op itself gives: sums in another order have other bits.
Tensors norm_inputs(const Size& size, at::Device device, at::ScalarType dtype) {
  const at::Tensor x = values(size, device, dtype);
  const LayerNormResult norm = layer_norm(x, kEps, /*with_y=*/true, WithCopy::kNone);
  return {x, norm.mean, norm.rstd, reference::column_amax(norm.y)};
}

// dy, y.
Tensors sigmoid_inputs(const Size& size, at::Device device, at::ScalarType dtype) {
  return {values(size, device, dtype),
          at::randn({size.rows, size.cols}, device).sigmoid().to(dtype)};
}

template <class Inputs>
std::vector<OpCase> all_cases(double bytes, const Inputs& inputs) {
  std::vector<OpCase> cases;
  for (const Size& size : kSizes) {
    cases.push_back({.shape = concat("M ", size.rows, ", K ", size.cols),
                     .inputs = [=](at::Device device,
                                   at::ScalarType dtype) { return inputs(size, device, dtype); },
                     .bytes = bytes * static_cast<double>(size.rows * size.cols),
                     .timed = size.timed});
  }
  return cases;
}

Tensors tensors(const Float8Tensor& copy) { return {copy.values, copy.inverse_scales}; }

void append(Tensors& result, const RowCopy& copy) {
  for (const at::Tensor& tensor : {copy.row.values, copy.row.inverse_scales, copy.column_amax}) {
    if (tensor.defined()) result.push_back(tensor);
  }
}

Tensors tensors(const LayerNormResult& norm) {
  Tensors result = {norm.mean, norm.rstd};
  if (norm.y.defined()) result.push_back(norm.y);
  append(result, norm.copy);
  return result;
}

Tensors tensors(const SigmoidGradient& gradient) {
  Tensors result = {gradient.dx};
  append(result, gradient.copy);
  return result;
}

// The copies of y as the statistics among the inputs give it.
Tensors norm_reference(const Tensors& in, bool with_y, WithCopy with_copy) {
  const at::Tensor y = reference::layer_norm(in[0], in[1], in[2]);
  LayerNormResult result{with_y ? y : at::Tensor(), {}, in[1], in[2]};
  if (with_copy != WithCopy::kNone) result.copy.row = reference::quantize_rows(y);
  if (with_copy == WithCopy::kRowAndColumnAmax) result.copy.column_amax = reference::column_amax(y);
  return tensors(result);
}

void add_norm(std::vector<ops::Op>& table, const char* name, bool with_y, WithCopy with_copy,
              double bytes) {
  table.push_back(
      {.name = name,
       .fused =
           [=](const Tensors& in) { return tensors(layer_norm(in[0], kEps, with_y, with_copy)); },
       .reference = [=](const Tensors& in) { return norm_reference(in, with_y, with_copy); },
       .cases = all_cases(bytes, norm_inputs)});
}

void add_sigmoid(std::vector<ops::Op>& table, const char* name, WithCopy with_copy) {
  table.push_back(
      {.name = name,
       .fused =
           [=](const Tensors& in) { return tensors(sigmoid_backward(in[0], in[1], with_copy)); },
       .reference =
           [=](const Tensors& in) {
             return tensors(reference::sigmoid_backward(in[0], in[1], with_copy));
           },
       .cases = all_cases(7, sigmoid_inputs)});
}

}  // namespace

void norm_sigmoid_rows_of_table(std::vector<ops::Op>& table) {
  // As the bench wants them in bf16, rowwise and rowwise_with_gw_hp.
  add_norm(table, "layer_norm", true, WithCopy::kNone, 4);
  add_norm(table, "quantize_layer_norm", false, WithCopy::kRowAndColumnAmax, 3);
  add_norm(table, "quantize_layer_norm_gw_hp", true, WithCopy::kRow, 5);
  table.push_back({.name = "quantize_layer_norm_columns",
                   .fused =
                       [](const Tensors& in) {
                         return tensors(layer_norm_columns(in[0], in[1], in[2], in[3]));
                       },
                   .reference =
                       [](const Tensors& in) {
                         return tensors(reference::quantize_columns(
                             reference::layer_norm(in[0], in[1], in[2]), in[3]));
                       },
                   .cases = all_cases(3, norm_inputs)});
  add_sigmoid(table, "quantize_sigmoid_backward", WithCopy::kRowAndColumnAmax);
  add_sigmoid(table, "quantize_sigmoid_backward_gw_hp", WithCopy::kRow);
}

}  // namespace titan::float8
