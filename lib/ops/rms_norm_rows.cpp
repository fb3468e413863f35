// Rows of the op table for RMSNorm: forward, backward as in a block (residual gradient added,
// output made again), backward as in the head (weight gradient accumulated, nothing else).
#include <ATen/ATen.h>

#include "lib/base/error.hpp"
#include "lib/ops/op_table.hpp"
#include "lib/ops/rms_norm.hpp"

namespace titan::ops {
namespace {

constexpr double kEps = 1e-5;

struct Size {
  int64_t rows, cols;
  bool timed = false;
};

// One row, odd counts, one warp and a part of one, the width of the 8B model, no rows; more rows
// than the backward has blocks, with one warp and with many; then the 8B training shape.
const Size kSizes[] = {{1, 256}, {37, 8},     {129, 768},  {5, 4096},          {3, 5120},
                       {0, 256}, {2200, 128}, {280, 8192}, {16384, 4096, true}};

at::Tensor weight(at::Device device, at::ScalarType dtype, int64_t cols) {
  return (1 + 0.1 * at::randn({cols}, device)).to(dtype);
}

// values_moved: how many values are read and written for each element of x.
template <class Inputs>
std::vector<OpCase> cases(int values_moved, const Inputs& inputs) {
  std::vector<OpCase> result;
  for (const Size& size : kSizes) {
    result.push_back({.shape = concat("T ", size.rows, ", D ", size.cols),
                      .inputs = [=](at::Device device,
                                    at::ScalarType dtype) { return inputs(size, device, dtype); },
                      .bytes = 2.0 * values_moved * static_cast<double>(size.rows * size.cols),
                      .timed = size.timed});
  }
  return result;
}

Tensors forward_inputs(const Size& size, at::Device device, at::ScalarType dtype) {
  return {at::randn({size.rows, size.cols}, device).to(dtype), weight(device, dtype, size.cols)};
}

// x, weight, dy, rstd, dweight so far, residual gradient.
Tensors backward_inputs(const Size& size, at::Device device, at::ScalarType dtype) {
  Tensors inputs = forward_inputs(size, device, dtype);
  const auto gradient = [&] { return at::randn({size.rows, size.cols}, device).to(dtype); };
  const at::Tensor rstd = reference::rms_norm(inputs[0], inputs[1], kEps).rstd;
  inputs.insert(inputs.end(), {gradient(), rstd, at::randn({size.cols}, device), gradient()});
  return inputs;
}

template <class Forward>
auto forward(const Forward& op) {
  return [op](const Tensors& in) {
    const RmsNormResult result = op(in[0], in[1], kEps);
    return Tensors{result.y, result.rstd};
  };
}

template <class Backward>
auto backward_in_block(const Backward& op) {
  return [op](const Tensors& in) {
    at::Tensor dweight = at::empty_like(in[4]), y;
    const at::Tensor dx = op(in[2], in[0], in[1], in[3], in[5], dweight, false, &y);
    return Tensors{dx, dweight, y};
  };
}

template <class Backward>
at::Tensor accumulate_in_head(const Backward& op, const Tensors& in, const at::Tensor& dweight) {
  return op(in[2], in[0], in[1], in[3], {}, dweight, true, nullptr);
}

template <class Backward>
auto backward_in_head(const Backward& op) {
  return [op](const Tensors& in) {
    const at::Tensor dweight = in[4].clone();
    const at::Tensor dx = accumulate_in_head(op, in, dweight);
    return Tensors{dx, dweight};
  };
}

}  // namespace

void rms_norm_rows(std::vector<Op>& table) {
  table.push_back({.name = "rms_norm",
                   .fused = forward(rms_norm),
                   .reference = forward(reference::rms_norm),
                   .cases = cases(2, forward_inputs)});
  table.push_back({.name = "rms_norm_backward_block",
                   .fused = backward_in_block(rms_norm_backward),
                   .reference = backward_in_block(reference::rms_norm_backward),
                   .cases = cases(5, backward_inputs)});
  table.push_back(
      {.name = "rms_norm_backward_head",
       .fused = backward_in_head(rms_norm_backward),
       .reference = backward_in_head(reference::rms_norm_backward),
       .timed_run = [](const Tensors& in) { accumulate_in_head(rms_norm_backward, in, in[4]); },
       .cases = cases(3, backward_inputs)});
}

}  // namespace titan::ops
