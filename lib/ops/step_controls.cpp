#include "lib/ops/step_controls.hpp"

#include <ATen/ATen.h>

#include <cstddef>
#include <cstring>

#include "lib/base/error.hpp"
#include "lib/ops/device.hpp"
#include "lib/ops/element_type.hpp"

#if TITAN_CUDA
#include "kernels/optim/gradient_norm.hpp"
#endif

namespace titan::ops {
namespace {

using Values = kernels::StepControls;

at::Tensor bytes_of(const Values& values) {
  at::Tensor bytes = at::empty({static_cast<int64_t>(sizeof(Values))}, at::kByte);
  std::memcpy(bytes.data_ptr(), &values, sizeof(Values));
  return bytes;
}

at::Tensor scalar_at(const at::Tensor& bytes, size_t offset, at::ScalarType dtype) {
  return bytes.narrow(0, static_cast<int64_t>(offset), at::elementSize(dtype))
      .view(dtype)
      .reshape({});
}

}  // namespace

StepControls::StepControls(at::Device device) {
  storage_ = bytes_of(Values()).to(device);
  step_ = scalar_at(storage_, offsetof(Values, step), at::kLong);
  norm_ = scalar_at(storage_, offsetof(Values, norm), at::kFloat);
  clip_factor_ = scalar_at(storage_, offsetof(Values, clip_factor), at::kFloat);
  skip_ = scalar_at(storage_, offsetof(Values, skip), at::kInt);
}

Values* StepControls::address() const { return static_cast<Values*>(storage_.data_ptr()); }

Values StepControls::values_sync() const {
  return *static_cast<const Values*>(storage_.cpu().const_data_ptr());
}

void StepControls::set_values(const Values& values) const { storage_.copy_(bytes_of(values)); }

void decide_step(const StepDecision& decision, const at::Tensor& square_sum, const at::Tensor& loss,
                 const StepControls& controls) {
  const at::Device device = controls.step().device();
  TITAN_CHECK(square_sum.numel() == 1 && square_sum.scalar_type() == at::kDouble &&
                  square_sum.device() == device,
              "decide_step: square_sum must be one fp64 on ", device, ", got ", square_sum.sizes(),
              " ", square_sum.scalar_type(), " on ", square_sum.device());
  TITAN_CHECK(!loss.defined() || (loss.numel() == 1 && loss.device() == device),
              "decide_step: loss must be a scalar on ", device, ", got ", loss.sizes());
#if TITAN_CUDA
  if (runs_kernels(square_sum)) {
    const at::Tensor loss32 = loss.defined() ? loss.to(at::kFloat) : at::Tensor();
    kernels::decide_step(decision, elements<const double>(square_sum),
                         elements<const float>(loss32), controls.address(), current_stream());
    return;
  }
#endif
  Values values = controls.values_sync();
  kernels::decide_step(decision, square_sum.item<double>(),
                       loss.defined() ? loss.item<double>() : 0.0, values);
  controls.set_values(values);
}

}  // namespace titan::ops
