#include "lib/ops/initialise.hpp"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <limits>
#include <numbers>

#include "kernels/init/initial_value.hpp"
#include "lib/base/error.hpp"
#include "lib/ops/device.hpp"
#include "lib/ops/element_type.hpp"
#include "lib/ops/parameter_stream.hpp"

#if TITAN_CUDA
#include "kernels/init/initialise.hpp"
#endif

namespace titan::ops {
namespace {

double normal_cdf(double x) { return 0.5 * std::erfc(-x / std::numbers::sqrt2); }

kernels::InitialDistribution distribution(const Initializer& initializer) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  kernels::InitialDistribution result{.mean = initializer.mean,
                                      .std = initializer.std,
                                      .low = -kInfinity,
                                      .high = kInfinity,
                                      .cdf_low = 0.0,
                                      .cdf_high = 1.0};
  if (initializer.kind == Initializer::Kind::kConstant) {
    result.std = 0.0;
    return result;
  }
  TITAN_CHECK(initializer.std > 0.0, "initialise_: std must be positive, got ", initializer.std);
  if (initializer.kind == Initializer::Kind::kTruncatedNormal) {
    TITAN_CHECK(initializer.low < initializer.high, "initialise_: the cut [", initializer.low, ", ",
                initializer.high, "] is empty");
    result.low = initializer.low;
    result.high = initializer.high;
    result.cdf_low = normal_cdf((initializer.low - initializer.mean) / initializer.std);
    result.cdf_high = normal_cdf((initializer.high - initializer.mean) / initializer.std);
  }
  return result;
}

// What an element's value is a function of, besides its place in the block.
struct Draw {
  kernels::InitialDistribution distribution;
  uint64_t seed;
  uint64_t stream;
};

template <class T>
void fill_cpu(const at::Tensor& out, const Draw& draw, const TensorBlock& block) {
  T* values = out.data_ptr<T>();
  constexpr int64_t kGrain = 4 * 1024;
  at::parallel_for(0, out.numel(), kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const uint32_t bits = kernels::initial_bits(draw.seed, draw.stream, block.index(i));
      values[i] = static_cast<T>(kernels::initial_value(draw.distribution, bits));
    }
  });
}

}  // namespace

void initialise_(at::Tensor out, const Initializer& initializer, uint64_t seed,
                 std::string_view parameter_name, const TensorBlock& block) {
  TITAN_CHECK(out.is_contiguous() && block.fits(out.numel()),
              "initialise_: expected a contiguous block of whole rows, got sizes ", out.sizes(),
              ", strides ", out.strides(), " for rows of ", block.row_length, " every ",
              block.row_stride, " elements from ", block.first_index);
  const Draw draw{distribution(initializer), seed, parameter_stream(parameter_name)};
#if TITAN_CUDA
  if (runs_kernels(out)) {
    return for_element_type("initialise_", out, [&]<class T>() {
      kernels::initialise<T>({.out = elements<T>(out),
                              .count = out.numel(),
                              .distribution = draw.distribution,
                              .seed = draw.seed,
                              .stream = draw.stream,
                              .block = block},
                             current_stream());
    });
  }
#endif
  if (!out.is_cpu()) {  // a GPU that the kernel is not built for
    const at::Tensor values = at::empty_like(out, at::kCPU);
    initialise_(values, initializer, seed, parameter_name, block);
    out.copy_(values);
    return;
  }
  switch (out.scalar_type()) {
    case at::kFloat:
      return fill_cpu<float>(out, draw, block);
    case at::kBFloat16:
      return fill_cpu<at::BFloat16>(out, draw, block);
    case at::kDouble:
      return fill_cpu<double>(out, draw, block);
    default:
      throw Error(concat("initialise_: expected bf16, fp32 or fp64, got ", out.scalar_type()));
  }
}

}  // namespace titan::ops
