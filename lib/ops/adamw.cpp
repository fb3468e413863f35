#include "lib/ops/adamw.hpp"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <type_traits>

#include "lib/base/error.hpp"
#include "lib/ops/device.hpp"
#include "lib/ops/element_type.hpp"

#if TITAN_CUDA
#include "kernels/optim/adamw.hpp"
#endif

namespace titan::ops {
namespace {

#if TITAN_CUDA

void run_cuda(const AdamWTensors& t, const AdamWSettings& settings, const StepControls& controls) {
  for_element_type("adamw_", t.master, [&]<class Master>() {
    for_element_type("adamw_", t.gradient, [&]<class Gradient>() {
      kernels::adamw<Master, Gradient>({.parameter = elements<Master>(t.master),
                                        .gradient = elements<const Gradient>(t.gradient),
                                        .exp_avg = elements<Master>(t.exp_avg),
                                        .exp_avg_sq = elements<Master>(t.exp_avg_sq),
                                        .compute = elements<__nv_bfloat16>(t.compute),
                                        .count = t.master.numel(),
                                        .settings = settings,
                                        .controls = controls.address()},
                                       current_stream());
    });
  });
}

#endif

template <class Master, class Gradient>
struct Pointers {
  Master* master;
  const Gradient* gradient;
  Master* exp_avg;
  Master* exp_avg_sq;
  at::BFloat16* compute;
};

// kWidth elements: loads, arithmetic and stores apart, so that the compiler can use vectors.
template <int kWidth, class Real, class Master, class Gradient>
void update(const Pointers<Master, Gradient>& p, const kernels::AdamWFactors<Real>& factors,
            int64_t first) {
  Real master[kWidth], gradient[kWidth], exp_avg[kWidth], exp_avg_sq[kWidth];
  for (int k = 0; k < kWidth; ++k) master[k] = static_cast<Real>(p.master[first + k]);
  for (int k = 0; k < kWidth; ++k) gradient[k] = static_cast<Real>(p.gradient[first + k]);
  for (int k = 0; k < kWidth; ++k) exp_avg[k] = static_cast<Real>(p.exp_avg[first + k]);
  for (int k = 0; k < kWidth; ++k) exp_avg_sq[k] = static_cast<Real>(p.exp_avg_sq[first + k]);
  for (int k = 0; k < kWidth; ++k) {
    factors.update(master[k], gradient[k], exp_avg[k], exp_avg_sq[k]);
  }
  for (int k = 0; k < kWidth; ++k) p.master[first + k] = static_cast<Master>(master[k]);
  for (int k = 0; k < kWidth; ++k) p.exp_avg[first + k] = static_cast<Master>(exp_avg[k]);
  for (int k = 0; k < kWidth; ++k) p.exp_avg_sq[first + k] = static_cast<Master>(exp_avg_sq[k]);
  if (p.compute) {
    for (int k = 0; k < kWidth; ++k) {
      p.compute[first + k] = static_cast<at::BFloat16>(static_cast<float>(master[k]));
    }
  }
}

template <class Master, class Gradient>
void run_cpu(const AdamWTensors& t, const AdamWSettings& settings,
             const kernels::StepControls& controls) {
  using Real = std::conditional_t<std::is_same_v<Master, double>, double, float>;
  const kernels::AdamWFactors<Real> factors(settings, controls.clip_factor,
                                            controls.inverse_correction1,
                                            controls.inverse_root_correction2);
  const Pointers<Master, Gradient> pointers{
      t.master.data_ptr<Master>(), t.gradient.const_data_ptr<Gradient>(),
      t.exp_avg.data_ptr<Master>(), t.exp_avg_sq.data_ptr<Master>(),
      t.compute.defined() ? t.compute.data_ptr<at::BFloat16>() : nullptr};
  constexpr int64_t kGrain = 16 * 1024;
  at::parallel_for(0, t.master.numel(), kGrain, [&](int64_t begin, int64_t end) {
    constexpr int kWidth = 16;
    int64_t i = begin;
    for (; i + kWidth <= end; i += kWidth) update<kWidth>(pointers, factors, i);
    for (; i < end; ++i) update<1>(pointers, factors, i);
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

void check(const AdamWTensors& t) {
  const auto same_shape = [&](const at::Tensor& tensor) {
    return tensor.is_contiguous() && tensor.numel() == t.master.numel() &&
           tensor.device() == t.master.device();
  };
  TITAN_CHECK(same_shape(t.master) && same_shape(t.gradient) && same_shape(t.exp_avg) &&
                  same_shape(t.exp_avg_sq) && (!t.compute.defined() || same_shape(t.compute)),
              "adamw_: expected contiguous tensors of one size on one device, got master",
              t.master.sizes(), ", gradient", t.gradient.sizes(), ", exp_avg", t.exp_avg.sizes(),
              ", exp_avg_sq", t.exp_avg_sq.sizes());
  TITAN_CHECK(t.exp_avg.scalar_type() == t.master.scalar_type() &&
                  t.exp_avg_sq.scalar_type() == t.master.scalar_type() &&
                  (!t.compute.defined() || t.compute.scalar_type() == at::kBFloat16),
              "adamw_: expected moments in the master's dtype ", t.master.scalar_type(),
              " and a bf16 compute copy, got ", t.exp_avg.scalar_type(), ", ",
              t.exp_avg_sq.scalar_type());
}

}  // namespace

void adamw_(const AdamWTensors& tensors, const AdamWSettings& settings,
            const StepControls& controls) {
  AdamWTensors t = tensors;
  if (t.compute.is_same(t.master)) t.compute.reset();
  check(t);
  TITAN_CHECK(controls.step().device() == t.master.device(), "adamw_: the step controls are on ",
              controls.step().device(), ", the parameter on ", t.master.device());
#if TITAN_CUDA
  if (t.master.is_cuda()) return run_cuda(t, settings, controls);
#endif
  if (controls.address()->skip) return;
  for_cpu_type(t.master, [&]<class Master>() {
    for_cpu_type(t.gradient, [&]<class Gradient>() {
      run_cpu<Master, Gradient>(t, settings, *controls.address());
    });
  });
}

}  // namespace titan::ops
