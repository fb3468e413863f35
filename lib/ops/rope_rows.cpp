// Rows of the op table for rotary positions.
#include <ATen/ATen.h>

#include "lib/base/error.hpp"
#include "lib/ops/op_table.hpp"
#include "lib/ops/rope.hpp"

namespace titan::ops {
namespace {

struct Size {
  int64_t batch, seq_len, heads, kv_heads, head_dim;
  bool timed = false;

  int64_t rows() const { return batch * seq_len; }
};

// One token, one vector to a head, odd head counts, the debug model's heads, the 8B model's, more
// heads than one pass of a block takes.
const Size kSizes[] = {{1, 1, 4, 4, 16},           {3, 7, 3, 1, 8},    {2, 33, 16, 16, 16},
                       {2, 19, 32, 8, 128},        {1, 3, 300, 4, 64}, {0, 8, 4, 4, 16},
                       {2, 8192, 32, 8, 128, true}};

RopeConfig config() { return {.theta = 500000, .scaling = RopeScaling{}}; }

// A table longer than the sequence must do as well.
at::Tensor table_for(const Size& size, at::Device device) {
  return rope_table(size.seq_len + 5, size.head_dim, config(), device);
}

Tensors forward_inputs(const Size& size, at::Device device, at::ScalarType dtype) {
  const int64_t width = (size.heads + 2 * size.kv_heads) * size.head_dim;
  // Ops of the table see only tensors: the sizes travel as one, on the CPU.
  const at::Tensor sizes = at::tensor({size.heads, size.kv_heads, size.seq_len}, at::kLong);
  return {at::randn({size.rows(), width}, device).to(dtype), table_for(size, device), sizes};
}

// dq as attention kernels that keep heads outermost lay it out, dk and dv as slices of wider rows.
Tensors backward_inputs(const Size& size, at::Device device, at::ScalarType dtype) {
  const auto random = [&](at::IntArrayRef sizes) { return at::randn(sizes, device).to(dtype); };
  const at::Tensor dq = random({size.batch, size.heads, size.seq_len, size.head_dim});
  const at::Tensor dkv = random({size.batch, size.seq_len, 2 * size.kv_heads, size.head_dim});
  return {dq.transpose(1, 2), dkv.narrow(2, 0, size.kv_heads),
          dkv.narrow(2, size.kv_heads, size.kv_heads), table_for(size, device)};
}

template <class Inputs, class Bytes>
std::vector<OpCase> cases(const Inputs& inputs, const Bytes& values_moved) {
  std::vector<OpCase> result;
  for (const Size& size : kSizes) {
    result.push_back({.shape = concat("B ", size.batch, ", S ", size.seq_len, ", H ", size.heads,
                                      ", KV ", size.kv_heads, ", head_dim ", size.head_dim),
                      .inputs = [=](at::Device device,
                                    at::ScalarType dtype) { return inputs(size, device, dtype); },
                      .bytes = 2.0 * static_cast<double>(values_moved(size)),
                      .timed = size.timed});
  }
  return result;
}

int64_t forward_values(const Size& s) { return 2 * s.rows() * (s.heads + s.kv_heads) * s.head_dim; }

int64_t backward_values(const Size& s) {
  return 2 * s.rows() * (s.heads + 2 * s.kv_heads) * s.head_dim;
}

template <class Forward>
auto in_place(const Forward& op) {
  return [op](const Tensors& in) {
    const int64_t* sizes = in[2].const_data_ptr<int64_t>();
    op(in[0], in[1], sizes[0], sizes[1], sizes[2]);
  };
}

template <class Forward>
auto forward(const Forward& op) {
  return [op](const Tensors& in) {
    const at::Tensor qkv = in[0].clone();
    in_place(op)({qkv, in[1], in[2]});
    return Tensors{qkv};
  };
}

template <class Backward>
auto backward(const Backward& op) {
  return [op](const Tensors& in) { return Tensors{op(in[0], in[1], in[2], in[3])}; };
}

}  // namespace

void rope_rows(std::vector<Op>& table) {
  table.push_back({.name = "rope",
                   .fused = forward(rope_),
                   .reference = forward(reference::rope_),
                   .timed_run = in_place(rope_),
                   .cases = cases(forward_inputs, forward_values)});
  table.push_back({.name = "rope_backward",
                   .fused = backward(rope_backward),
                   .reference = backward(reference::rope_backward),
                   .cases = cases(backward_inputs, backward_values)});
}

}  // namespace titan::ops
