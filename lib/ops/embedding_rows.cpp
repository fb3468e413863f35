// Rows of the op table for the embedding and its backward.
#include <ATen/ATen.h>

#include "lib/base/error.hpp"
#include "lib/ops/element_type.hpp"
#include "lib/ops/embedding.hpp"
#include "lib/ops/op_table.hpp"

namespace titan::ops {
namespace {

// Rows [first, first + rows) of a table for `vocabulary` tokens.
struct Size {
  int64_t tokens, vocabulary, width;
  int64_t first, rows;
  bool timed = false;
};

constexpr Size whole(int64_t tokens, int64_t vocabulary, int64_t width, bool timed = false) {
  return {tokens, vocabulary, width, 0, vocabulary, timed};
}

// No token, one, all the same, rows that are not aligned, more columns than threads. Shards: the
// first, the last, one in between, one that no token is of; a quarter of a real table.
constexpr Size kSizes[] = {whole(0, 5, 8),
                           whole(1, 3, 8),
                           whole(70, 1, 40),
                           whole(300, 7, 264),
                           whole(129, 1000, 30),
                           whole(64, 50, 4097),
                           whole(513, 40, 4096),
                           {300, 8, 264, 0, 4},
                           {300, 8, 30, 4, 4},
                           {513, 40, 1000, 7, 26},
                           {2, 1000, 8, 999, 1},
                           whole(16384, 128256, 4096, true),
                           {16384, 128256, 4096, 32064, 32064, true}};

// Token ids as frequent as in text: the smallest is every twentieth of a 128256-word vocabulary.
at::Tensor skewed_tokens(const Size& size, at::Device device) {
  const at::Tensor uniform = at::rand({size.tokens}, device).pow(4);
  return (uniform * size.vocabulary).to(at::kInt).clamp_max(size.vocabulary - 1);
}

at::Tensor uniform_tokens(const Size& size, at::Device device) {
  return at::randint(size.vocabulary, {size.tokens},
                     at::TensorOptions().device(device).dtype(at::kInt));
}

template <class Inputs, class Bytes>
std::vector<OpCase> cases(const Inputs& inputs, const Bytes& bytes) {
  std::vector<OpCase> result;
  for (const Size& size : kSizes) {
    result.push_back(
        {.shape = concat("T ", size.tokens, ", V ", size.rows,
                         size.rows < size.vocabulary ? concat(" of ", size.vocabulary) : "", ", D ",
                         size.width),
         .inputs = [=](at::Device device,
                       at::ScalarType dtype) { return inputs(size, device, dtype); },
         .bytes = bytes(size),
         .timed = size.timed});
  }
  return result;
}

// What a run must know of a shard, among its inputs.
at::Tensor tensor_of(const Size& size) {
  return at::tensor({size.first, size.vocabulary}, at::kLong);
}
VocabularyShard shard_of(const at::Tensor& tensor) {
  return {.first = tensor[0].item<int64_t>(), .whole = tensor[1].item<int64_t>()};
}

void add_forward(std::vector<Op>& table) {
  const auto inputs = [](const Size& size, at::Device device, at::ScalarType dtype) {
    return Tensors{uniform_tokens(size, device),
                   at::randn({size.rows, size.width}, device).to(dtype), tensor_of(size)};
  };
  const auto bytes = [](const Size& size) {
    const double share = static_cast<double>(size.rows) / static_cast<double>(size.vocabulary);
    return 2.0 * (1 + share) * static_cast<double>(size.tokens * size.width);
  };
  const auto fused = [](const Tensors& in) {
    return Tensors{ops::embedding(in[0], in[1], shard_of(in[2]))};
  };
  // From a whole table that holds zeros elsewhere.
  const auto reference = [](const Tensors& in) {
    const VocabularyShard shard = shard_of(in[2]);
    const int64_t below = shard.whole - shard.first - in[1].size(0);
    const at::Tensor table = at::constant_pad_nd(in[1], {0, 0, shard.first, below});
    return Tensors{table.index_select(0, in[0])};
  };
  table.push_back(
      {.name = "embedding", .fused = fused, .reference = reference, .cases = cases(inputs, bytes)});
}

// dweight in fp32, or with `narrow` in dx's dtype.
void add_backward(std::vector<Op>& table, const std::string& name, bool accumulate, bool narrow) {
  const auto inputs = [=](const Size& size, at::Device device, at::ScalarType dtype) {
    const at::Tensor before = at::randn({size.rows, size.width}, device);
    return Tensors{skewed_tokens(size, device),
                   at::randn({size.tokens, size.width}, device).to(dtype),
                   narrow ? before.to(dtype) : before, tensor_of(size)};
  };
  // All rows of dx, though a shard needs only those of its tokens: how many is up to them.
  const auto bytes = [=](const Size& size) {
    const double weight_bytes = narrow ? 2 : 4;
    const auto table_size = static_cast<double>(size.rows * size.width);
    return weight_bytes * table_size + 2.0 * static_cast<double>(size.tokens * size.width);
  };
  const auto run = [=](const Tensors& in, const at::Tensor& dweight) {
    ops::embedding_backward(in[1], in[0], dweight, accumulate, shard_of(in[3]).first);
  };
  // The rows of the whole table's gradient.
  const auto reference = [=](const Tensors& in) {
    const at::ScalarType type = compute_type(in[1]);
    const VocabularyShard shard = shard_of(in[3]);
    const at::Tensor whole = at::zeros({shard.whole, in[2].size(1)}, in[2].options().dtype(type));
    at::Tensor rows = whole.narrow(0, shard.first, in[2].size(0));
    if (accumulate) rows.copy_(in[2]);
    whole.index_add_(0, in[0], in[1].to(type));
    return Tensors{rows.to(in[2].scalar_type()).contiguous()};
  };
  Op op{.name = name,
        .fused =
            [=](const Tensors& in) {
              const at::Tensor dweight = accumulate ? in[2].clone() : at::empty_like(in[2]);
              run(in, dweight);
              return Tensors{dweight};
            },
        .reference = reference,
        .timed_run = [=](const Tensors& in) { run(in, in[2]); },
        .cases = cases(inputs, bytes)};
  // What += must move depends on the tokens: it is checked, not timed.
  if (accumulate) std::erase_if(op.cases, [](const OpCase& op_case) { return op_case.timed; });
  table.push_back(std::move(op));
}

}  // namespace

void embedding_rows(std::vector<Op>& table) {
  add_forward(table);
  add_backward(table, "embedding_backward", false, false);
  add_backward(table, "embedding_backward_add", true, false);
  add_backward(table, "embedding_backward_narrow", false, true);
  add_backward(table, "embedding_backward_narrow_add", true, true);
}

}  // namespace titan::ops
