// Rows of the op table for SwiGLU.
#include <ATen/ATen.h>

#include "lib/base/error.hpp"
#include "lib/ops/op_table.hpp"
#include "lib/ops/swiglu.hpp"

namespace titan::ops {
namespace {

struct Size {
  int64_t rows, cols;
  bool timed = false;
};

// One vector, odd counts, rows that do not fill the last group, the debug model's F, the 8B
// model's.
const Size kSizes[] = {{1, 8},     {3, 40},  {37, 768},           {65, 2056},
                       {6, 14336}, {0, 768}, {16384, 14336, true}};

// gate_up, and dh for the backward. Wide values reach both ends of the sigmoid.
template <bool kBackward>
std::vector<OpCase> cases(int values_moved) {
  std::vector<OpCase> result;
  for (const Size& size : kSizes) {
    result.push_back(
        {.shape = concat("T ", size.rows, ", F ", size.cols),
         .inputs =
             [=](at::Device device, at::ScalarType dtype) {
               Tensors inputs{(4 * at::randn({size.rows, 2 * size.cols}, device)).to(dtype)};
               if (kBackward) {
                 inputs.push_back(at::randn({size.rows, size.cols}, device).to(dtype));
               }
               return inputs;
             },
         .bytes = 2.0 * values_moved * static_cast<double>(size.rows * size.cols),
         .timed = size.timed});
  }
  return result;
}

template <class Forward>
auto forward(const Forward& op) {
  return [op](const Tensors& in) { return Tensors{op(in[0])}; };
}

template <class Backward>
auto backward(const Backward& op) {
  return [op](const Tensors& in) {
    const at::Tensor gate_up = in[0].clone(), dh = in[1].clone();
    op(dh, gate_up);
    return Tensors{gate_up, dh};
  };
}

}  // namespace

void swiglu_rows(std::vector<Op>& table) {
  table.push_back({.name = "swiglu",
                   .fused = forward(swiglu),
                   .reference = forward(reference::swiglu),
                   .cases = cases<false>(3)});
  table.push_back({.name = "swiglu_backward",
                   .fused = backward(swiglu_backward_),
                   .reference = backward(reference::swiglu_backward_),
                   .timed_run = [](const Tensors& in) { swiglu_backward_(in[1], in[0]); },
                   .cases = cases<true>(6),
                   .restored = {0, 1}});
}

}  // namespace titan::ops
