// Rows of the op table for the embedding and its backward.
#include <ATen/ATen.h>

#include "lib/base/error.hpp"
#include "lib/ops/element_type.hpp"
#include "lib/ops/embedding.hpp"
#include "lib/ops/op_table.hpp"

namespace titan::ops {
namespace {

struct Size {
  int64_t tokens, vocabulary, width;
  bool timed = false;
};

// No token, one, all the same, rows that are not aligned, more columns than threads.
const Size kSizes[] = {
    {0, 5, 8},       {1, 3, 8},      {70, 1, 40},     {300, 7, 264},
    {129, 1000, 30}, {64, 50, 4097}, {513, 40, 4096}, {16384, 128256, 4096, true}};

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
        {.shape = concat("T ", size.tokens, ", V ", size.vocabulary, ", D ", size.width),
         .inputs = [=](at::Device device,
                       at::ScalarType dtype) { return inputs(size, device, dtype); },
         .bytes = bytes(size),
         .timed = size.timed});
  }
  return result;
}

void add_forward(std::vector<Op>& table) {
  const auto inputs = [](const Size& size, at::Device device, at::ScalarType dtype) {
    return Tensors{uniform_tokens(size, device),
                   at::randn({size.vocabulary, size.width}, device).to(dtype)};
  };
  const auto bytes = [](const Size& size) {
    return 4.0 * static_cast<double>(size.tokens * size.width);
  };
  table.push_back(
      {.name = "embedding",
       .fused = [](const Tensors& in) { return Tensors{ops::embedding(in[0], in[1])}; },
       .reference = [](const Tensors& in) { return Tensors{in[1].index_select(0, in[0])}; },
       .cases = cases(inputs, bytes)});
}

// dweight in fp32, or with `narrow` in dx's dtype.
void add_backward(std::vector<Op>& table, const std::string& name, bool accumulate, bool narrow) {
  const auto inputs = [=](const Size& size, at::Device device, at::ScalarType dtype) {
    const at::Tensor before = at::randn({size.vocabulary, size.width}, device);
    return Tensors{skewed_tokens(size, device),
                   at::randn({size.tokens, size.width}, device).to(dtype),
                   narrow ? before.to(dtype) : before};
  };
  const auto bytes = [=](const Size& size) {
    const double weight_bytes = narrow ? 2 : 4;
    const auto table_size = static_cast<double>(size.vocabulary * size.width);
    return weight_bytes * table_size + 2.0 * static_cast<double>(size.tokens * size.width);
  };
  Op op{.name = name,
        .fused =
            [=](const Tensors& in) {
              const at::Tensor dweight = accumulate ? in[2].clone() : at::empty_like(in[2]);
              ops::embedding_backward(in[1], in[0], dweight, accumulate);
              return Tensors{dweight};
            },
        .reference =
            [=](const Tensors& in) {
              const at::ScalarType type = compute_type(in[1]);
              const at::Tensor start = accumulate ? in[2].to(type) : at::zeros_like(in[2]).to(type);
              return Tensors{start.index_add(0, in[0], in[1].to(type)).to(in[2].scalar_type())};
            },
        .timed_run =
            [=](const Tensors& in) { ops::embedding_backward(in[1], in[0], in[2], accumulate); },
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
