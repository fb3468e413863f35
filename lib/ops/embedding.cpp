#include "lib/ops/embedding.hpp"

#include <ATen/ATen.h>

#include "lib/ops/device.hpp"
#include "lib/ops/element_type.hpp"

#if TITAN_CUDA
#include "kernels/embedding/embedding.hpp"
#endif

namespace titan::ops {
namespace {

#if TITAN_CUDA

at::Tensor forward_cuda(const at::Tensor& tokens, const at::Tensor& weight,
                        const VocabularyShard& shard) {
  at::Tensor out = at::empty({tokens.size(0), weight.size(1)}, weight.options());
  for_element_type("embedding", weight, [&]<class T>() {
    kernels::embedding_forward<T>({.tokens = elements<const int32_t>(tokens),
                                   .weight = elements<const T>(weight),
                                   .out = elements<T>(out),
                                   .count = tokens.size(0),
                                   .first = shard.first,
                                   .rows = weight.size(0),
                                   .vocabulary = shard.whole,
                                   .width = weight.size(1)},
                                  current_stream());
  });
  return out;
}

void backward_cuda(const at::Tensor& dx, const at::Tensor& tokens, const at::Tensor& dweight,
                   bool accumulate, int64_t first) {
  if (tokens.size(0) == 0) {
    if (!accumulate) dweight.zero_();
    return;
  }
  const auto [sorted, positions] =
      at::sort(tokens, /*stable=*/true, /*dim=*/0, /*descending=*/false);
  const at::Tensor rows = at::arange(first, first + dweight.size(0) + 1, tokens.options());
  const at::Tensor starts = at::searchsorted(sorted, rows, /*out_int32=*/true);
  const auto run = [&]<class Gradient, class Weight>() {
    kernels::embedding_backward<Gradient, Weight>({.dx = elements<const Gradient>(dx),
                                                   .positions = elements<const int64_t>(positions),
                                                   .starts = elements<const int32_t>(starts),
                                                   .dweight = elements<Weight>(dweight),
                                                   .rows = dweight.size(0),
                                                   .width = dweight.size(1),
                                                   .accumulate = accumulate},
                                                  current_stream());
  };
  for_element_type("embedding_backward", dx, [&]<class Gradient>() {
    if (dweight.scalar_type() == at::kFloat) {
      run.template operator()<Gradient, float>();
    } else {
      run.template operator()<Gradient, Gradient>();
    }
  });
}

#endif

// Whether a token's row is in the whole table, but not among the `rows` of this shard.
at::Tensor elsewhere(const at::Tensor& tokens, int64_t rows, const VocabularyShard& shard) {
  const at::Tensor here = (tokens >= shard.first).logical_and_(tokens < shard.first + rows);
  return (tokens >= 0).logical_and_(tokens < shard.whole).logical_and_(here.logical_not_());
}

}  // namespace

at::Tensor embedding(const at::Tensor& tokens, const at::Tensor& weight,
                     const VocabularyShard& shard) {
  TITAN_CHECK(
      tokens.dim() == 1 && tokens.scalar_type() == at::kInt && tokens.is_contiguous() &&
          weight.dim() == 2 && weight.is_contiguous() && shard.first >= 0 &&
          shard.first + weight.size(0) <= shard.whole,
      "embedding: expected int32 tokens[T] and contiguous weight[V, D] inside a vocabulary ", "of ",
      shard.whole, " tokens, got tokens", tokens.sizes(), " ", tokens.scalar_type(), ", weight",
      weight.sizes(), " from row ", shard.first);
#if TITAN_CUDA
  if (runs_kernels(weight)) return forward_cuda(tokens, weight, shard);
#endif
  if (weight.size(0) == shard.whole) return at::embedding(weight, tokens);
  const at::Tensor zero = elsewhere(tokens, weight.size(0), shard);
  const at::Tensor row = (tokens - shard.first).masked_fill_(zero, 0);
  return at::embedding(weight, row).masked_fill_(zero.unsqueeze(1), 0.0);
}

at::Tensor embedding(const at::Tensor& tokens, const at::Tensor& weight) {
  return embedding(tokens, weight, {.first = 0, .whole = weight.size(0)});
}

void embedding_backward(const at::Tensor& dx, const at::Tensor& tokens, at::Tensor dweight,
                        bool accumulate, int64_t first) {
  TITAN_CHECK(
      tokens.dim() == 1 && tokens.scalar_type() == at::kInt && tokens.is_contiguous() &&
          dx.dim() == 2 && dx.is_contiguous() && dx.size(0) == tokens.size(0) &&
          dweight.dim() == 2 && dweight.is_contiguous() && dweight.size(1) == dx.size(1) &&
          (dweight.scalar_type() == at::kFloat || dweight.scalar_type() == dx.scalar_type()),
      "embedding_backward: expected int32 tokens[T], contiguous dx[T, D] and dweight[V, D] ",
      "in fp32 or dx's dtype, got tokens", tokens.sizes(), " ", tokens.scalar_type(), ", dx",
      dx.sizes(), " ", dx.scalar_type(), ", dweight", dweight.sizes(), " ", dweight.scalar_type());
#if TITAN_CUDA
  if (runs_kernels(dx)) return backward_cuda(dx, tokens, dweight, accumulate, first);
#endif
  constexpr int64_t kSkipped = -1;
  at::Tensor row = tokens - first;
  row.masked_fill_((row < 0).logical_or_(row >= dweight.size(0)), kSkipped);
  const at::Tensor sum =
      at::embedding_dense_backward(dx.to(compute_type(dx)), row, dweight.size(0),
                                   /*padding_idx=*/kSkipped, /*scale_grad_by_freq=*/false);
  accumulate ? dweight.add_(sum) : dweight.copy_(sum);
}

}  // namespace titan::ops
