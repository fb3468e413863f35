// From tensors of a run-time dtype to typed pointers, and the dtype that references compute in.
#pragma once

#include <ATen/core/Tensor.h>

#include "lib/base/error.hpp"

#if TITAN_CUDA
#include <cuda_bf16.h>
#endif

namespace titan::ops {

// Sums and products of bf16 and fp32 tensors are made in fp32, those of fp64 tensors in fp64.
inline at::ScalarType compute_type(const at::Tensor& tensor) {
  return tensor.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
}

#if TITAN_CUDA

// Calls body.operator()<T>() with the element type T of the CUDA kernels, __nv_bfloat16 or float.
template <class Body>
void for_element_type(const char* op, const at::Tensor& tensor, const Body& body) {
  switch (tensor.scalar_type()) {
    case at::kBFloat16:
      return body.template operator()<__nv_bfloat16>();
    case at::kFloat:
      return body.template operator()<float>();
    default:
      throw Error(concat(op, ": the CUDA kernel takes bf16 or fp32, got ", tensor.scalar_type()));
  }
}

// For kernels that read and write 16 bytes at a time: contiguous, 16-byte aligned, and with whole
// vectors in each row. Undefined tensors pass.
template <class T>
void check_vectors(const char* op, const char* name, const at::Tensor& tensor) {
  if (!tensor.defined()) return;
  constexpr int64_t kWidth = 16 / sizeof(T);
  TITAN_CHECK(tensor.is_contiguous() && tensor.size(-1) % kWidth == 0 &&
                  reinterpret_cast<uintptr_t>(tensor.const_data_ptr()) % 16 == 0,
              op, ": ", name, " must be contiguous, start at a multiple of 16 bytes and have rows ",
              "of a multiple of ", kWidth, " elements; got sizes ", tensor.sizes(), ", strides ",
              tensor.strides());
}

// The tensor's elements as T (which may be const); null for an undefined tensor.
template <class T>
T* elements(const at::Tensor& tensor) {
  return tensor.defined() ? static_cast<T*>(tensor.data_ptr()) : nullptr;
}

#endif

}  // namespace titan::ops
