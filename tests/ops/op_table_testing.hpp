// What the tests of both op tables share: running a row in memory that holds NaN, and a test for
// every row on every device.
#pragma once

#include <ATen/ATen.h>
#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <limits>
#include <optional>
#include <string>

#include "lib/base/error.hpp"
#include "lib/ops/device.hpp"
#include "lib/ops/op_table.hpp"

namespace titan::ops {

// While it lives, ATen fills the memory that at::empty returns with NaN (integers: the largest), so
// that an output or workspace that a kernel forgets to write shows.
class PoisonedMemory {
 public:
  PoisonedMemory() { set(true); }
  ~PoisonedMemory() { set(false); }
  PoisonedMemory(const PoisonedMemory&) = delete;
  PoisonedMemory& operator=(const PoisonedMemory&) = delete;

 private:
  static void set(bool on) {
    at::globalContext().setDeterministicFillUninitializedMemory(on);
    at::globalContext().setDeterministicAlgorithms(on, /*warn_only=*/true);
  }
};

inline Tensors copies(const Tensors& tensors) {
  Tensors result;
  for (const at::Tensor& tensor : tensors) result.push_back(tensor.clone());
  return result;
}

// Runs the row twice in poisoned memory: `actual`, and `again`, which must have the same bits.
// Checks by `same_bits` that it left its inputs alone.
struct TwoRuns {
  Tensors actual, again;
};
template <class SameBits>
TwoRuns run_twice(const Op& op, const Tensors& inputs, const SameBits& same_bits) {
  const Tensors before = copies(inputs);
  TwoRuns runs;
  {
    PoisonedMemory poisoned;
    runs = {op.fused(inputs), op.fused(inputs)};
  }
  for (size_t i = 0; i < inputs.size(); ++i) {
    EXPECT_TRUE(same_bits(inputs[i], before[i])) << "input " << i << " was changed";
  }
  return runs;
}

// What is checked of a row with inputs of one case.
using CheckRow = void (*)(const Op& op, const Tensors& inputs);

// Where a row runs: on the CPU, by the kernels, or in plain ATen on the GPU, as where the kernels
// are not built for it.
enum class Where { kCpu, kKernels, kReferenceOnGpu };

class OpRowTest : public testing::Test {
 public:
  OpRowTest(const Op& op, CheckRow check, Where where, int64_t largest)
      : op_(op), check_(check), where_(where), largest_(largest) {}

  void TestBody() override {
    if (where_ != Where::kCpu && !Device::preferred().is_cuda()) {
      GTEST_SKIP() << "no CUDA device: " << op_.name;
    }
    std::optional<ReferenceOps> reference;
    if (where_ == Where::kReferenceOnGpu) reference.emplace();
    at::manual_seed(17);
    for (const OpCase& op_case : op_.cases) {
      if (op_case.timed) continue;
      for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
        SCOPED_TRACE(concat(op_case.shape, ", ", dtype));
        const Tensors inputs = op_case.inputs(where_ == Where::kCpu ? at::kCPU : at::kCUDA, dtype);
        if (inputs[0].numel() <= largest_) check_(op_, inputs);
      }
    }
  }

 protected:
  // ATen's threads wait for each other in a busy loop, which is slow beside other test programs.
  static void SetUpTestSuite() { at::set_num_threads(1); }

 private:
  const Op& op_;
  CheckRow check_;
  Where where_;
  int64_t largest_;  // elements of a case's first input
};

// Registered by hand, so that gtest and ctest both call a test by its op: <table>Cuda.rms_norm.
// Cases whose first input has more than `largest_in_aten` elements run by the kernels alone.
inline bool register_table(const std::string& table, const std::vector<Op>& rows, CheckRow check,
                           int64_t largest_in_aten = std::numeric_limits<int64_t>::max()) {
  const auto add = [&](const char* suffix, Where where, int64_t largest) {
    for (const Op& op : rows) {
      testing::RegisterTest((table + suffix).c_str(), op.name.c_str(), nullptr, nullptr, __FILE__,
                            __LINE__, [&op, check, where, largest]() -> OpRowTest* {
                              return new OpRowTest(op, check, where, largest);
                            });
    }
  };
  add("Cpu", Where::kCpu, largest_in_aten);
  add("Cuda", Where::kKernels, std::numeric_limits<int64_t>::max());
  add("CudaReference", Where::kReferenceOnGpu, largest_in_aten);
  return true;
}

}  // namespace titan::ops
