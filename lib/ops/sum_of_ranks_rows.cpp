// Rows of the op table for sums of what several ranks have sent.
#include <ATen/ATen.h>

#include "lib/base/error.hpp"
#include "lib/ops/op_table.hpp"
#include "lib/ops/sum_of_ranks.hpp"

namespace titan::ops {
namespace {

struct Size {
  int64_t parts, rows, cols;
  bool timed = false;
};

// Every number of parts that a kernel is made for; single values, ends of fewer than eight values,
// rows that start nowhere in particular, several blocks; a block's w1 and w3 on two and four ranks.
constexpr Size kSizes[] = {{1, 1, 1},
                           {2, 1, 7},
                           {2, 5, 8},
                           {3, 3, 701},
                           {4, 257, 1025},
                           {5, 64, 96},
                           {6, 33, 31},
                           {7, 16, 2048},
                           {8, 129, 520},
                           {2, 14336, 4096, true},
                           {4, 7168, 4096, true}};

at::Tensor sum_like(const at::Tensor& part) {
  const bool exact = part.scalar_type() == at::kDouble;
  return at::empty(part.sizes(), part.options().dtype(exact ? at::kDouble : at::kFloat));
}

// A matrix, and, misaligned, what follows its first value; added to the earlier sum if asked.
template <class Sum>
Tensors run(const Tensors& in, bool accumulate, const Sum& sum) {
  SumOfRanks matrix{sum_like(in[1]), {in.begin() + 1, in.end()}, accumulate};
  SumOfRanks rest{sum_like(in[1].flatten().slice(0, 1)), {}, accumulate};
  for (const at::Tensor& part : matrix.parts) rest.parts.push_back(part.flatten().slice(0, 1));
  if (accumulate) {
    matrix.sum.copy_(in[0]);
    rest.sum.copy_(in[0].flatten().slice(0, 1));
  }
  sum({matrix, rest});
  return {matrix.sum, rest.sum};
}

void add(std::vector<Op>& table, const char* name, bool accumulate) {
  std::vector<OpCase> cases;
  for (const Size& size : kSizes) {
    const auto inputs = [=](at::Device device, at::ScalarType dtype) {
      Tensors in = {at::randn({size.rows, size.cols}, device)};
      for (int64_t i = 0; i < size.parts; ++i) {
        in.push_back(at::randn({size.rows, size.cols}, device).to(dtype));
      }
      return in;
    };
    const double bytes = static_cast<double>(2 * size.parts + (accumulate ? 8 : 4)) *
                         static_cast<double>(size.rows * size.cols);
    cases.push_back({.shape = concat(size.parts, " of ", size.rows, " x ", size.cols),
                     .inputs = inputs,
                     .bytes = bytes,
                     .timed = size.timed});
  }
  const auto timed = [=](const Tensors& in) {
    sum_of_ranks({{in[0], {in.begin() + 1, in.end()}, accumulate}});
  };
  table.push_back(
      {.name = name,
       .fused = [=](const Tensors& in) { return run(in, accumulate, sum_of_ranks); },
       .reference = [=](const Tensors& in) { return run(in, accumulate, reference::sum_of_ranks); },
       .timed_run = timed,
       .cases = std::move(cases)});
}

}  // namespace

void sum_of_ranks_rows(std::vector<Op>& table) {
  add(table, "sum_of_ranks", /*accumulate=*/false);
  add(table, "sum_of_ranks_accumulate", /*accumulate=*/true);
}

}  // namespace titan::ops
