#include "lib/train/norm_linear_sigmoid.hpp"

#include <ATen/ATen.h>

#include "lib/float8/norm_sigmoid.hpp"
#include "lib/model/declare.hpp"
#include "lib/model/linear.hpp"

namespace titan {
namespace {

constexpr double kEps = 1e-5;

std::vector<Unit> declare(const LinearSize& size, std::optional<Float8Recipe> recipe) {
  // As a matrix of a block: its gradient has the dtype of the products.
  Unit unit{.name = "layers.0", .parameters = {}};
  const LinearConfig linear{
      .name = "linear",
      .in_features = size.k,
      .out_features = size.n,
      .initializer = {.kind = ops::Initializer::Kind::kNormal, .mean = 0, .std = 0.02},
      .float8 = recipe};
  unit.parameters.push_back(declare_linears({{linear}}, "layers.0."));
  return {unit};
}

}  // namespace

NormLinearSigmoid::NormLinearSigmoid(const ops::Device& device, const LinearSize& size,
                                     std::optional<Float8Recipe> recipe, at::ScalarType dtype)
    : device_(device),
      size_(size),
      sharder_(declare(size, recipe), {.parameter_dtype = dtype, .compute_dtype = dtype}, device) {
  sharder_.initialise(/*seed=*/1);
}

NormLinearSigmoid::Result NormLinearSigmoid::forward_backward(const at::Tensor& x,
                                                              const at::Tensor& dy) {
  const StepContext context{.device = device_, .batch = 1, .seq_len = size_.m, .rope_table = {}};
  sharder_.mark_copies_stale();
  const Weight& weight = sharder_.weights(0)[0];
  const bool float8_forward = reads_only_copies(weight);
  const bool float8_wgrad = wgrad_reads_only_copies(weight);

  float8::LayerNormResult norm =
      float8_forward ? float8::layer_norm_copy(x, kEps, /*with_y=*/!float8_wgrad, float8_wgrad)
                     : float8::layer_norm(x, kEps);
  const at::Tensor y =
      linear_forward(context, weight, {norm.y, norm.copy, x.scalar_type()}).sigmoid_();
  norm.copy.row.reset();  // as in training, backward finds the column amax alone

  const auto [dlinear, copy] = float8_forward
                                   ? float8::sigmoid_backward(dy, y, float8_wgrad)
                                   : float8::SigmoidGradient{at::sigmoid_backward(dy, y), {}};
  const LinearGradient gradient = linear_gradient(weight, dlinear, copy);
  const at::Tensor dnormed = linear_backward_input(context, weight, gradient);
  WgradInput input{norm.y, {}};
  if (float8_wgrad) {
    input.column = float8::layer_norm_columns(x, norm.mean, norm.rstd, norm.copy.column_amax);
  }
  const Gradients gradients = sharder_.gradients(0);
  const at::Tensor dweight = gradients[0];
  linear_backward_weight(context, weight, gradient, input, dweight, gradients.accumulate);
  sharder_.release_gradients();
  return {y, float8::layer_norm_backward(dnormed, x, norm.mean, norm.rstd), dweight};
}

}  // namespace titan
