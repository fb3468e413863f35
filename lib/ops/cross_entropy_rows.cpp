// Rows of the op table for the cross-entropy.
#include <ATen/ATen.h>

#include "lib/base/error.hpp"
#include "lib/ops/cross_entropy.hpp"
#include "lib/ops/element_type.hpp"
#include "lib/ops/op_table.hpp"

namespace titan::ops {
namespace {

struct Size {
  int64_t rows, vocabulary;
  bool timed = false;
};

// One row, rows that are not aligned, vocabularies of real models (clusters of 1, 4 and 8 blocks),
// slices of which the last is short.
const Size kSizes[] = {{1, 1},     {1, 8},      {3, 1001},           {37, 2048},
                       {5, 50257}, {2, 73736},  {4, 128256},         {2, 202048},
                       {0, 2048},  {2, 151936}, {8192, 128256, true}};

// logits, labels (every fifth ignored, the first and last column among them), 1 / valid tokens.
Tensors random_inputs(const Size& size, at::Device device, at::ScalarType dtype) {
  const auto integers = at::TensorOptions().device(device).dtype(at::kInt);
  at::Tensor labels = at::randint(size.vocabulary, {size.rows}, integers);
  if (size.rows > 1) labels[1] = size.vocabulary - 1;
  if (size.rows > 2) labels[2] = 0;
  if (size.rows > 3) labels.slice(0, 3, size.rows, 5).fill_(-100);
  return {(4 * at::randn({size.rows, size.vocabulary}, device)).to(dtype), labels,
          at::full({1}, 0.37, at::TensorOptions().device(device).dtype(at::kFloat))};
}

std::vector<OpCase> cases(double bytes_for_a_logit) {
  std::vector<OpCase> result;
  for (const Size& size : kSizes) {
    result.push_back(
        {.shape = concat("R ", size.rows, ", V ", size.vocabulary),
         .inputs = [=](at::Device device,
                       at::ScalarType dtype) { return random_inputs(size, device, dtype); },
         .bytes = bytes_for_a_logit * static_cast<double>(size.rows * size.vocabulary),
         .timed = size.timed});
  }
  return result;
}

at::Tensor empty_losses(const at::Tensor& logits) {
  return at::empty({logits.size(0)}, logits.options().dtype(compute_type(logits)));
}

Tensors fused(const Tensors& in) {
  const at::Tensor logits = in[0].clone(), losses = empty_losses(logits);
  cross_entropy_(logits, in[1], in[2], losses);
  return {logits, losses};
}

Tensors fused_forward(const Tensors& in) {
  const at::Tensor losses = empty_losses(in[0]);
  cross_entropy_forward(in[0], in[1], losses);
  return {losses};
}

// torch's own functions, backward through both of them, on fp32 logits as upstream.
Tensors reference(const Tensors& in) {
  const at::ScalarType type = compute_type(in[0]);
  const at::Tensor log_p = at::log_softmax(in[0].to(type), 1), labels = in[1].to(at::kLong);
  const auto [losses, weight] = at::nll_loss_forward(log_p, labels, {}, at::Reduction::None, -100);
  const at::Tensor dlog_p = at::nll_loss_backward(in[2].to(type).expand_as(losses), log_p, labels,
                                                  {}, at::Reduction::None, -100, weight);
  return {at::_log_softmax_backward_data(dlog_p, log_p, 1, type).to(in[0].scalar_type()), losses};
}

}  // namespace

void cross_entropy_rows(std::vector<Op>& table) {
  table.push_back(
      {.name = "cross_entropy",
       .fused = fused,
       .reference = reference,
       .timed_run =
           [](const Tensors& in) { cross_entropy_(in[0], in[1], in[2], empty_losses(in[0])); },
       .cases = cases(4),
       .restored = {0}});
  table.push_back({.name = "cross_entropy_forward",
                   .fused = fused_forward,
                   .reference = [](const Tensors& in) { return Tensors{reference(in)[1]}; },
                   .cases = cases(2)});
}

}  // namespace titan::ops
