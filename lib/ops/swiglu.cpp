#include "lib/ops/swiglu.hpp"

#include <ATen/ATen.h>

#include "lib/ops/device.hpp"
#include "lib/ops/element_type.hpp"

#if TITAN_CUDA
#include "kernels/activation/swiglu.hpp"
#endif

namespace titan::ops {
namespace {

#if TITAN_CUDA

at::Tensor forward_cuda(const at::Tensor& gate_up) {
  const int64_t rows = gate_up.size(0), cols = gate_up.size(1) / 2;
  at::Tensor h = at::empty({rows, cols}, gate_up.options());
  for_element_type("swiglu", gate_up, [&]<class T>() {
    check_vectors<T>("swiglu", "gate_up", gate_up);
    check_vectors<T>("swiglu", "h", h);
    kernels::swiglu_forward<T>(
        {.gate_up = elements<const T>(gate_up), .h = elements<T>(h), .rows = rows, .cols = cols},
        current_stream());
  });
  return h;
}

void backward_cuda(const at::Tensor& dh, const at::Tensor& gate_up) {
  for_element_type("swiglu_backward_", gate_up, [&]<class T>() {
    check_vectors<T>("swiglu_backward_", "gate_up", gate_up);
    check_vectors<T>("swiglu_backward_", "dh", dh);
    kernels::swiglu_backward<T>({.gate_up = elements<T>(gate_up),
                                 .dh = elements<T>(dh),
                                 .rows = dh.size(0),
                                 .cols = dh.size(1)},
                                current_stream());
  });
}

#endif

}  // namespace

at::Tensor swiglu(const at::Tensor& gate_up) {
  TITAN_CHECK(gate_up.dim() == 2 && gate_up.size(1) % 2 == 0,
              "swiglu: expected gate_up[T, 2F], got ", gate_up.sizes());
#if TITAN_CUDA
  if (runs_kernels(gate_up)) return forward_cuda(gate_up);
#endif
  return reference::swiglu(gate_up);
}

void swiglu_backward_(at::Tensor dh, at::Tensor gate_up) {
  TITAN_CHECK(dh.dim() == 2 && gate_up.dim() == 2 && gate_up.size(0) == dh.size(0) &&
                  gate_up.size(1) == 2 * dh.size(1) && gate_up.scalar_type() == dh.scalar_type(),
              "swiglu_backward_: expected dh[T, F] and gate_up[T, 2F] of one dtype, got dh",
              dh.sizes(), " ", dh.scalar_type(), " and gate_up", gate_up.sizes(), " ",
              gate_up.scalar_type());
#if TITAN_CUDA
  if (runs_kernels(gate_up)) return backward_cuda(dh, gate_up);
#endif
  reference::swiglu_backward_(dh, gate_up);
}

namespace reference {

at::Tensor swiglu(const at::Tensor& gate_up) {
  const std::vector<at::Tensor> halves = gate_up.to(compute_type(gate_up)).chunk(2, 1);
  return (at::silu(halves[0]) * halves[1]).to(gate_up.scalar_type());
}

void swiglu_backward_(at::Tensor dh, at::Tensor gate_up) {
  const at::ScalarType type = compute_type(gate_up);
  const at::Tensor gradient = dh.to(type);
  const std::vector<at::Tensor> halves = gate_up.to(type).chunk(2, 1);
  const at::Tensor &gate = halves[0], &up = halves[1];
  const at::Tensor sigmoid = at::sigmoid(gate);
  const at::Tensor silu = at::silu(gate);
  const at::Tensor dgate = gradient * up * sigmoid * (1 + gate * (1 - sigmoid));
  const at::Tensor dup = gradient * silu;
  const at::Tensor h = silu * up;
  gate_up.copy_(at::cat({dgate, dup}, 1));
  dh.copy_(h);
}

}  // namespace reference
}  // namespace titan::ops
