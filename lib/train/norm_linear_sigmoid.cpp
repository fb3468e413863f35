#include "lib/train/norm_linear_sigmoid.hpp"

#include <ATen/ATen.h>

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
  sharder_.parameters_changed();
  const Weight& weight = sharder_.weights(0)[0];

  const auto [normed, mean, rstd] = at::native_layer_norm(x, {size_.k}, {}, {}, kEps);
  LinearInput input = linear_input(weight, normed);
  const at::Tensor y = linear_forward(context, weight, input).sigmoid_();
  input.copy.row.reset();  // as in training, backward finds the column amax alone

  const at::Tensor dlinear = at::sigmoid_backward(dy, y);
  const LinearGradient gradient = linear_gradient(weight, dlinear);
  const at::Tensor dnormed = linear_backward_input(context, weight, gradient);
  const Gradients gradients = sharder_.gradients(0);
  const at::Tensor dweight = gradients[0];
  linear_backward_weight(context, weight, gradient,
                         wgrad_input(weight, normed, input.copy.column_amax), dweight,
                         gradients.accumulate);
  sharder_.release_gradients();
  const auto [dx, no_gamma, no_beta] = at::native_layer_norm_backward(
      dnormed, x, {size_.k}, mean, rstd, {}, {}, {true, false, false});
  return {y, dx, dweight};
}

}  // namespace titan
