#include "lib/ops/adamw.hpp"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <type_traits>

#include "lib/base/error.hpp"
#include "lib/ops/device.hpp"
#include "lib/ops/element_type.hpp"
#include "lib/ops/parameter_stream.hpp"

#if TITAN_CUDA
#include "kernels/optim/adamw.hpp"
#endif

namespace titan::ops {
namespace {

using kernels::AdamWFactors;
using Rounding = std::optional<MomentRounding>;

#if TITAN_CUDA

template <class Master, class Gradient, bool kStochastic>
void launch(const AdamWTensors& t, const AdamWSettings& settings, const StepControls& controls,
            const Rounding& rounding) {
  using Kernel = kernels::AdamW<Master, Gradient, kStochastic>;
  using Moment = typename Kernel::Moment;
  kernels::adamw(Kernel{.parameter = elements<Master>(t.master),
                        .gradient = elements<const Gradient>(t.gradient),
                        .exp_avg = elements<Moment>(t.exp_avg),
                        .exp_avg_sq = elements<Moment>(t.exp_avg_sq),
                        .compute = elements<__nv_bfloat16>(t.compute),
                        .count = t.master.numel(),
                        .settings = settings,
                        .controls = controls.address(),
                        .rounding = rounding.value_or(MomentRounding{})},
                 current_stream());
}

void run_cuda(const AdamWTensors& t, const AdamWSettings& settings, const StepControls& controls,
              const Rounding& rounding) {
  for_element_type("adamw_", t.master, [&]<class Master>() {
    for_element_type("adamw_", t.gradient, [&]<class Gradient>() {
      if (rounding) {
        launch<Master, Gradient, true>(t, settings, controls, rounding);
      } else {
        launch<Master, Gradient, false>(t, settings, controls, rounding);
      }
    });
  });
}

#endif

template <class Master, class Gradient, class Moment>
struct Pointers {
  Master* master;
  const Gradient* gradient;
  Moment* exp_avg;
  Moment* exp_avg_sq;
  at::BFloat16* compute;
};

at::BFloat16 stochastic_bf16(float value, uint32_t random) {
  const auto bits = static_cast<uint16_t>(kernels::round_stochastically(value, random));
  return {bits, at::BFloat16::from_bits()};
}

// Rounds kWidth moments to where they are kept, from `first` on.
template <int kWidth, class Real, class Master, class Gradient>
void store_stochastically(const Pointers<Master, Gradient, at::BFloat16>& p,
                          const MomentRounding& rounding, int64_t step, int64_t first,
                          const Real (&exp_avg)[kWidth], const Real (&exp_avg_sq)[kWidth]) {
  kernels::PhiloxBlock bits{};
  int64_t block = -1;
  for (int k = 0; k < kWidth; ++k) {
    const int64_t index = rounding.block.index(first + k);
    if (index / 4 != block) bits = kernels::rounding_bits(rounding.key, step, block = index / 4);
    const uint32_t word = bits.words[index % 4];
    p.exp_avg[first + k] =
        stochastic_bf16(static_cast<float>(exp_avg[k]), kernels::exp_avg_bits(word));
    p.exp_avg_sq[first + k] =
        stochastic_bf16(static_cast<float>(exp_avg_sq[k]), kernels::exp_avg_sq_bits(word));
  }
}

// kWidth elements: loads, arithmetic and stores apart, so that the compiler can use vectors.
template <int kWidth, class Real, class Master, class Gradient, class Moment>
void update(const Pointers<Master, Gradient, Moment>& p, const AdamWFactors<Real>& factors,
            const Rounding& rounding, int64_t step, int64_t first) {
  Real master[kWidth], gradient[kWidth], exp_avg[kWidth], exp_avg_sq[kWidth];
  for (int k = 0; k < kWidth; ++k) master[k] = static_cast<Real>(p.master[first + k]);
  for (int k = 0; k < kWidth; ++k) gradient[k] = static_cast<Real>(p.gradient[first + k]);
  for (int k = 0; k < kWidth; ++k) exp_avg[k] = static_cast<Real>(p.exp_avg[first + k]);
  for (int k = 0; k < kWidth; ++k) exp_avg_sq[k] = static_cast<Real>(p.exp_avg_sq[first + k]);
  for (int k = 0; k < kWidth; ++k) {
    factors.update(master[k], gradient[k], exp_avg[k], exp_avg_sq[k]);
  }
  for (int k = 0; k < kWidth; ++k) p.master[first + k] = static_cast<Master>(master[k]);
  if constexpr (std::is_same_v<Moment, at::BFloat16>) {
    if (rounding) store_stochastically(p, *rounding, step, first, exp_avg, exp_avg_sq);
  }
  if (!rounding) {
    for (int k = 0; k < kWidth; ++k) p.exp_avg[first + k] = static_cast<Moment>(exp_avg[k]);
    for (int k = 0; k < kWidth; ++k) p.exp_avg_sq[first + k] = static_cast<Moment>(exp_avg_sq[k]);
  }
  if (p.compute) {
    for (int k = 0; k < kWidth; ++k) {
      p.compute[first + k] = static_cast<at::BFloat16>(static_cast<float>(master[k]));
    }
  }
}

template <class Master, class Gradient, class Moment>
void run_cpu(const AdamWTensors& t, const AdamWSettings& settings,
             const kernels::StepControls& controls, const Rounding& rounding) {
  using Real = std::conditional_t<std::is_same_v<Master, double>, double, float>;
  AdamWFactors<Real> factors(settings);
  factors.at_step(controls);
  const Pointers<Master, Gradient, Moment> pointers{
      t.master.data_ptr<Master>(), t.gradient.const_data_ptr<Gradient>(),
      t.exp_avg.data_ptr<Moment>(), t.exp_avg_sq.data_ptr<Moment>(),
      t.compute.defined() ? t.compute.data_ptr<at::BFloat16>() : nullptr};
  constexpr int64_t kGrain = 16 * 1024;
  at::parallel_for(0, t.master.numel(), kGrain, [&](int64_t begin, int64_t end) {
    constexpr int kWidth = 16;
    int64_t i = begin;
    for (; i + kWidth <= end; i += kWidth) {
      update<kWidth>(pointers, factors, rounding, controls.step, i);
    }
    for (; i < end; ++i) update<1>(pointers, factors, rounding, controls.step, i);
  });
}

template <class Body>
void for_cpu_type(const at::Tensor& tensor, const Body& body) {
  switch (tensor.scalar_type()) {
    case at::kFloat:
      return body.template operator()<float>();
    case at::kBFloat16:
      return body.template operator()<at::BFloat16>();
    case at::kDouble:
      return body.template operator()<double>();
    default:
      throw Error(concat("adamw_: expected bf16, fp32 or fp64, got ", tensor.scalar_type()));
  }
}

void check(const AdamWTensors& t, const Rounding& rounding) {
  const auto same_shape = [&](const at::Tensor& tensor) {
    return tensor.is_contiguous() && tensor.numel() == t.master.numel() &&
           tensor.device() == t.master.device();
  };
  TITAN_CHECK(same_shape(t.master) && same_shape(t.gradient) && same_shape(t.exp_avg) &&
                  same_shape(t.exp_avg_sq) && (!t.compute.defined() || same_shape(t.compute)),
              "adamw_: expected contiguous tensors of one size on one device, got master",
              t.master.sizes(), ", gradient", t.gradient.sizes(), ", exp_avg", t.exp_avg.sizes(),
              ", exp_avg_sq", t.exp_avg_sq.sizes());
  const at::ScalarType moment = rounding ? at::kBFloat16 : t.master.scalar_type();
  TITAN_CHECK(t.exp_avg.scalar_type() == moment && t.exp_avg_sq.scalar_type() == moment &&
                  (!t.compute.defined() || t.compute.scalar_type() == at::kBFloat16),
              "adamw_: expected moments in ", moment, rounding ? ", rounded stochastically," : "",
              " and a bf16 compute copy, got ", t.exp_avg.scalar_type(), ", ",
              t.exp_avg_sq.scalar_type());
  TITAN_CHECK(!rounding || rounding->block.fits(t.master.numel()), "adamw_: master",
              t.master.sizes(), " cannot be a block with rows of ", rounding->block.row_length,
              " every ", rounding->block.row_stride, " elements from ",
              rounding->block.first_index);
}

}  // namespace

uint64_t rounding_key(uint64_t seed, std::string_view parameter_name) {
  const uint64_t stream = parameter_stream(parameter_name);
  // A block of the parameter's stream that no initial value uses.
  const kernels::PhiloxBlock block = kernels::philox(
      {{~0u, ~0u, static_cast<uint32_t>(stream), static_cast<uint32_t>(stream >> 32)}}, seed);
  return block.words[0] | static_cast<uint64_t>(block.words[1]) << 32;
}

void adamw_(const AdamWTensors& tensors, const AdamWSettings& settings,
            const StepControls& controls, const Rounding& rounding) {
  AdamWTensors t = tensors;
  if (t.compute.is_same(t.master)) t.compute.reset();
  check(t, rounding);
  TITAN_CHECK(controls.step().device() == t.master.device(), "adamw_: the step controls are on ",
              controls.step().device(), ", the parameter on ", t.master.device());
#if TITAN_CUDA
  if (runs_kernels(t.master)) return run_cuda(t, settings, controls, rounding);
#endif
  const kernels::StepControls now = controls.values_sync();
  if (now.skip) {
    if (t.compute.defined()) t.compute.copy_(t.master);
    return;
  }
  if (!t.master.is_cpu()) return reference::adamw_(t, settings, now, rounding);
  for_cpu_type(t.master, [&]<class Master>() {
    for_cpu_type(t.gradient, [&]<class Gradient>() {
      if (rounding) {
        run_cpu<Master, Gradient, at::BFloat16>(t, settings, now, rounding);
      } else {
        run_cpu<Master, Gradient, Master>(t, settings, now, rounding);
      }
    });
  });
}

}  // namespace titan::ops
