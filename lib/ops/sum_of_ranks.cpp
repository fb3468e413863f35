#include "lib/ops/sum_of_ranks.hpp"

#include <ATen/ATen.h>

#include <algorithm>

#include "lib/base/error.hpp"
#include "lib/ops/device.hpp"
#include "lib/ops/element_type.hpp"

#if TITAN_CUDA
#include "kernels/reduce/sum_of_ranks.hpp"
#endif

namespace titan::ops {
namespace {

void check(const std::vector<SumOfRanks>& sums) {
  for (const SumOfRanks& each : sums) {
    TITAN_CHECK(!each.parts.empty() && each.parts.size() == sums.front().parts.size(),
                "sum_of_ranks: sums of different numbers of parts");
    for (const at::Tensor& part : each.parts) {
      TITAN_CHECK(part.numel() == each.sum.numel() && part.is_contiguous() &&
                      part.scalar_type() == each.parts.front().scalar_type(),
                  "sum_of_ranks: parts of different sizes or dtypes");
    }
    TITAN_CHECK(each.sum.is_contiguous(), "sum_of_ranks: the sum is not contiguous");
  }
}

#if TITAN_CUDA

static_assert(kMaxRanks == kernels::kMaxRanks);

void sum_of_ranks_cuda(const std::vector<SumOfRanks>& sums) {
  std::vector<kernels::SumOfRanks> batch;
  for (size_t i = 0; i < sums.size(); ++i) {
    const SumOfRanks& each = sums[i];
    const at::ScalarType type = each.parts.front().scalar_type();
    TITAN_CHECK(each.sum.scalar_type() == at::kFloat &&
                    (type == at::kBFloat16 || type == at::kFloat) &&
                    each.parts.size() <= kernels::kMaxRanks,
                "sum_of_ranks: the CUDA kernel sums up to ", kernels::kMaxRanks,
                " parts of bf16 or fp32 in fp32");
    kernels::SumOfRanks& p = batch.emplace_back();
    p.sum = elements<float>(each.sum);
    for (size_t part = 0; part < each.parts.size(); ++part) {
      p.parts[part] = each.parts[part].const_data_ptr();
    }
    p.count = each.sum.numel();
    p.parts_in_bf16 = type == at::kBFloat16;
    p.accumulate = each.accumulate;
    if (batch.size() == kernels::kMaxSums || i + 1 == sums.size()) {
      kernels::sum_of_ranks(batch.data(), static_cast<int>(batch.size()),
                            static_cast<int>(each.parts.size()), current_stream());
      batch.clear();
    }
  }
}

#endif

}  // namespace

void sum_of_ranks(const std::vector<SumOfRanks>& sums) {
  if (sums.empty()) return;
  check(sums);
#if TITAN_CUDA
  if (sums.front().sum.is_cuda()) return sum_of_ranks_cuda(sums);
#endif
  reference::sum_of_ranks(sums);
}

void reference::sum_of_ranks(const std::vector<SumOfRanks>& sums) {
  for (const SumOfRanks& each : sums) {
    at::Tensor sum = each.sum;
    for (size_t i = 0; i < each.parts.size(); ++i) {
      const at::Tensor part = each.parts[i].view_as(sum);
      i == 0 && !each.accumulate ? sum.copy_(part) : sum.add_(part);
    }
  }
}

}  // namespace titan::ops
