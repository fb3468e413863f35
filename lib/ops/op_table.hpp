// Every fused op in one table: tests/ops checks each row's numerics, `titan-bench ops` times it.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <string>
#include <vector>

namespace titan::ops {

using Tensors = std::vector<at::Tensor>;

// One set of sizes that an op is checked or timed with.
struct OpCase {
  std::string shape;  // "T 16384, D 4096"
  // Fresh random inputs; floating tensors in `dtype`, except those that the op wants in fp32.
  std::function<Tensors(at::Device, at::ScalarType dtype)> inputs;
  // Bytes that one call must read and write at this size in bf16; the benches divide by it.
  double bytes = 0;
  bool timed = false;  // a bench size (large, CUDA only) instead of a test size
};

struct Op {
  std::string name;  // "rms_norm"
  // What the training step calls. Must not change `inputs` (in-place ops clone first; the clone is
  // not timed: see `timed_run`).
  std::function<Tensors(const Tensors& inputs)> fused;
  // The same mathematics in plain ATen, in the dtype of its inputs. The oracle is this function on
  // inputs upcast to fp64; fused may have at most twice the error of this function in `dtype`.
  std::function<Tensors(const Tensors& inputs)> reference;
  // What the bench times, where it differs from `fused` (in-place ops run over their own output).
  std::function<void(const Tensors& inputs)> timed_run = {};
  std::vector<OpCase> cases = {};
  // Inputs that timed_run would drive to zero or overflow by running over its own output: the bench
  // puts their first values back between runs, outside the measured time.
  std::vector<size_t> restored = {};
};

const std::vector<Op>& op_table();

}  // namespace titan::ops
