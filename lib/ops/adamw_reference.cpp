// AdamW in plain ATen. Every product and sum is rounded by itself, in the order of
// adamw_element.hpp: the moments have the bits that the CPU loop and the kernel give.
#include <ATen/ATen.h>

#include <algorithm>

#include "lib/ops/adamw.hpp"
#include "lib/ops/element_type.hpp"

namespace titan::ops::reference {
namespace {

// How many elements are in work at a time: bounds what the steps in between need.
constexpr int64_t kChunk = int64_t{1} << 24;
constexpr int64_t kWord = 0xffffffff;

struct Product {
  at::Tensor low, high;  // words
};

// word * factor, both below 2^32, in signed 64 bits: factor times each half of the word.
Product multiply(const at::Tensor& word, int64_t factor) {
  const at::Tensor low = word.bitwise_and(0xffff) * factor;
  const at::Tensor high = word.bitwise_right_shift(16) * factor + low.bitwise_right_shift(16);
  return {high.bitwise_and(0xffff).bitwise_left_shift(16).bitwise_or(low.bitwise_and(0xffff)),
          high.bitwise_right_shift(16)};
}

// The words of moment_rounding.hpp for the elements first, first + 1, ... of a tensor, in int64.
at::Tensor rounding_words(const MomentRounding& rounding, int64_t step, int64_t first,
                          int64_t count, const at::TensorOptions& options) {
  const kernels::TensorBlock& block = rounding.block;
  const at::Tensor i = at::arange(first, first + count, options.dtype(at::kLong));
  const at::Tensor row = i.div(block.row_length, "floor");
  const at::Tensor index =
      row * block.row_stride + (i - row * block.row_length) + block.first_index;
  const at::Tensor position = index.bitwise_right_shift(2);
  at::Tensor words[4] = {position.bitwise_and(kWord), position.bitwise_right_shift(32),
                         at::full_like(i, step & kWord), at::full_like(i, step >> 32)};
  auto key_low = static_cast<uint32_t>(rounding.key);
  auto key_high = static_cast<uint32_t>(rounding.key >> 32);
  for (int round = 0; round < 7; ++round) {
    const Product product0 = multiply(words[0], 0xD2511F53);
    const Product product1 = multiply(words[2], 0xCD9E8D57);
    words[0] = product1.high.bitwise_xor(words[1]).bitwise_xor(int64_t{key_low});
    words[1] = product1.low;
    words[2] = product0.high.bitwise_xor(words[3]).bitwise_xor(int64_t{key_high});
    words[3] = product0.low;
    key_low += 0x9E3779B9u;
    key_high += 0xBB67AE85u;
  }
  return at::stack(words, 1).gather(1, index.bitwise_and(3).unsqueeze(1)).squeeze(1);
}

// round_stochastically() of moment_rounding.hpp.
at::Tensor rounded(const at::Tensor& value, const at::Tensor& random) {
  constexpr double kLargest = 0x1.FEp127;
  const at::Tensor bits = value.view(at::kInt);
  const at::Tensor raised = bits + random.to(at::kInt);
  return at::where(value.abs() < kLargest, raised, bits)
      .bitwise_and(~0xffff)
      .view(at::kFloat)
      .to(at::kBFloat16);
}

void update(const AdamWTensors& t, const AdamWSettings& s, const kernels::StepControls& controls,
            const std::optional<MomentRounding>& rounding, int64_t first) {
  const at::ScalarType type = compute_type(t.master);
  at::Tensor gradient = t.gradient.to(type) * controls.clip_factor;
  at::Tensor master = t.master.to(type);
  if (s.decoupled) {
    master = master * (1 - s.learning_rate * s.weight_decay);
  } else {
    gradient = gradient + master * s.weight_decay;
  }
  const at::Tensor exp_avg = t.exp_avg.to(type) * s.beta1 + gradient * (1 - s.beta1);
  const at::Tensor exp_avg_sq =
      t.exp_avg_sq.to(type) * s.beta2 + gradient * (1 - s.beta2) * gradient;
  const at::Tensor denominator = exp_avg_sq.sqrt() * controls.inverse_root_correction2 + s.epsilon;
  master = master - exp_avg * (s.learning_rate * controls.inverse_correction1) / denominator;

  t.master.copy_(master);
  if (rounding) {
    const at::Tensor words =
        rounding_words(*rounding, controls.step, first, master.numel(), master.options());
    t.exp_avg.copy_(rounded(exp_avg, words.bitwise_and(0xffff)));
    t.exp_avg_sq.copy_(rounded(exp_avg_sq, words.bitwise_right_shift(16)));
  } else {
    t.exp_avg.copy_(exp_avg);
    t.exp_avg_sq.copy_(exp_avg_sq);
  }
  if (t.compute.defined()) t.compute.copy_(master);
}

}  // namespace

void adamw_(const AdamWTensors& tensors, const AdamWSettings& settings,
            const kernels::StepControls& controls, const std::optional<MomentRounding>& rounding) {
  const int64_t count = tensors.master.numel();
  for (int64_t first = 0; first < count; first += kChunk) {
    const auto part = [&](const at::Tensor& tensor) {
      if (!tensor.defined()) return at::Tensor();
      return tensor.view(-1).narrow(0, first, std::min(kChunk, count - first));
    };
    update({part(tensors.master), part(tensors.gradient), part(tensors.exp_avg),
            part(tensors.exp_avg_sq), part(tensors.compute)},
           settings, controls, rounding, first);
  }
}

}  // namespace titan::ops::reference
