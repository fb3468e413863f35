// Rows of the op table for the two steps of the cross-entropy over a shard of the vocabulary.
#include <ATen/ATen.h>

#include "lib/base/error.hpp"
#include "lib/ops/cross_entropy_shard.hpp"
#include "lib/ops/element_type.hpp"
#include "lib/ops/op_table.hpp"

namespace titan::ops {
namespace {

// The columns [first, first + columns) of a vocabulary.
struct Size {
  int64_t rows, vocabulary, first, columns;
  bool timed = false;
};

// One row, one column, rows that are not aligned, a vocabulary in one shard, shards whose sweeps
// end inside a row of threads, those of real models; half and an eighth of one.
constexpr Size kSizes[] = {{1, 1, 0, 1},
                           {1, 16, 8, 8},
                           {3, 1001, 0, 501},
                           {7, 1000, 999, 1},
                           {37, 2048, 0, 2048},
                           {5, 50257, 12565, 12564},
                           {2, 32768, 8192, 8192},
                           {3, 30000, 10000, 8200},
                           {4, 128256, 64128, 64128},
                           {0, 2048, 1024, 1024},
                           {8192, 128256, 64128, 64128, true},
                           {8192, 128256, 16032, 16032, true}};

at::Tensor tensor_of(const Size& size) {
  return at::tensor({size.first, size.vocabulary}, at::kLong);
}
VocabularyShard shard_of(const at::Tensor& tensor) {
  return {.first = tensor[0].item<int64_t>(), .whole = tensor[1].item<int64_t>()};
}

// Labels of the whole vocabulary, the shard's first and last column among them.
at::Tensor random_labels(const Size& size, at::Device device) {
  at::Tensor labels =
      at::randint(size.vocabulary, {size.rows}, at::TensorOptions().device(device).dtype(at::kInt));
  if (size.rows > 1) labels[1] = size.first;
  if (size.rows > 2) labels[2] = size.first + size.columns - 1;
  return labels;
}

at::Tensor random_logits(const Size& size, int64_t columns, at::Device device,
                         at::ScalarType dtype) {
  return (2 * at::randn({size.rows, columns}, device)).to(dtype);
}

// [R, 3], by torch's own functions.
at::Tensor plain_statistics(const at::Tensor& logits, const at::Tensor& labels, int64_t first) {
  const at::Tensor x = logits.to(compute_type(logits));
  const at::Tensor column = (labels.to(at::kLong) - first).unsqueeze(1);
  const at::Tensor one_hot = at::arange(x.size(1), column.options()).unsqueeze(0) == column;
  const at::Tensor maximum = x.amax(1);
  return at::stack({maximum, (x.logsumexp(1) - maximum).exp(), (x * one_hot).sum(1)}, 1);
}

std::vector<OpCase> cases(
    double bytes_for_a_logit,
    const std::function<Tensors(const Size&, at::Device, at::ScalarType)>& inputs) {
  std::vector<OpCase> result;
  for (const Size& size : kSizes) {
    result.push_back(
        {.shape = concat("R ", size.rows, ", V ", size.columns, " of ", size.vocabulary),
         .inputs = [=](at::Device device,
                       at::ScalarType dtype) { return inputs(size, device, dtype); },
         .bytes = bytes_for_a_logit * static_cast<double>(size.rows * size.columns),
         .timed = size.timed});
  }
  return result;
}

// One output for each statistic: they differ in size.
Tensors columns_of(const at::Tensor& statistics) {
  Tensors result;
  for (const at::Tensor& column : statistics.unbind(1)) result.push_back(column.clone(at::MemoryFormat::Contiguous));
  return result;
}

void add_statistics(std::vector<Op>& table) {
  const auto inputs = [](const Size& size, at::Device device, at::ScalarType dtype) {
    return Tensors{random_logits(size, size.columns, device, dtype), random_labels(size, device),
                   tensor_of(size)};
  };
  const auto run = [](const Tensors& in) {
    return cross_entropy_statistics(in[0], in[1], shard_of(in[2]));
  };
  table.push_back({.name = "cross_entropy_statistics",
                   .fused = [=](const Tensors& in) { return columns_of(run(in)); },
                   .reference =
                       [](const Tensors& in) {
                         return columns_of(plain_statistics(in[0], in[1], shard_of(in[2]).first));
                       },
                   .timed_run = run,
                   .cases = cases(2, inputs)});
}

// logits, labels, 1 / valid tokens, the statistics of the columns before, here and after, shard.
Tensors gradient_inputs(const Size& size, at::Device device, at::ScalarType dtype) {
  at::Tensor labels = random_labels(size, device), logits;
  Tensors statistics;
  const int64_t bounds[] = {0, size.first, size.first + size.columns, size.vocabulary};
  for (int i = 0; i < 3; ++i) {
    const int64_t first = bounds[i], end = bounds[i + 1];
    if (first == end) continue;
    at::Tensor part = random_logits(size, end - first, device, dtype);
    statistics.push_back(plain_statistics(part, labels, first));
    if (i == 1) logits = part;
  }
  labels.slice(0, 3, size.rows, 5).fill_(-100);
  return {logits, labels, at::full({1}, 0.37, at::TensorOptions().device(device)),
          at::stack(statistics), tensor_of(size)};
}

at::Tensor empty_losses(const Tensors& in) {
  return at::empty({in[0].size(0)}, in[0].options().dtype(compute_type(in[0])));
}

Tensors fused_gradient(const Tensors& in) {
  const at::Tensor logits = in[0].clone(), losses = empty_losses(in);
  cross_entropy_from_statistics_(logits, in[1], shard_of(in[4]), in[3], in[2], losses);
  return {logits, losses};
}

Tensors fused_losses(const Tensors& in) {
  const at::Tensor losses = empty_losses(in);
  cross_entropy_losses(in[3], in[1], shard_of(in[4]).whole, losses);
  return {losses};
}

Tensors reference(const Tensors& in) {
  const at::ScalarType type = compute_type(in[0]);
  const Tensors parts = in[3].to(type).unbind(2);
  const at::Tensor log_sum = (parts[0] + parts[1].log()).logsumexp(0);
  const at::Tensor counted = in[1] != -100;
  const at::Tensor column = (in[1].to(at::kLong) - shard_of(in[4]).first).unsqueeze(1);
  const at::Tensor one_hot = at::arange(in[0].size(1), column.options()).unsqueeze(0) == column;
  const at::Tensor gradient = (in[0].to(type) - log_sum.unsqueeze(1)).exp() - one_hot.to(type);
  return {(gradient * in[2].to(type) * counted.unsqueeze(1)).to(in[0].scalar_type()),
          (log_sum - parts[2].sum(0)) * counted};
}

}  // namespace

void cross_entropy_shard_rows(std::vector<Op>& table) {
  add_statistics(table);
  table.push_back({.name = "cross_entropy_from_statistics",
                   .fused = fused_gradient,
                   .reference = reference,
                   .timed_run =
                       [](const Tensors& in) {
                         cross_entropy_from_statistics_(in[0], in[1], shard_of(in[4]), in[3], in[2],
                                                        empty_losses(in));
                       },
                   .cases = cases(4, gradient_inputs),
                   .restored = {0}});
  Op losses{.name = "cross_entropy_losses",
            .fused = fused_losses,
            .reference = [](const Tensors& in) { return Tensors{reference(in)[1]}; },
            .cases = cases(0, gradient_inputs)};
  // A few bytes for each row.
  std::erase_if(losses.cases, [](const OpCase& op_case) { return op_case.timed; });
  table.push_back(std::move(losses));
}

}  // namespace titan::ops
