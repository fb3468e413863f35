// cuBLASLt plans: one per shape, made on first use and kept. A plan is the descriptor, the layouts
// and the algorithm that ran fastest among the heuristics' candidates on the caller's own operands
// (for bf16 the second to fourth candidate is up to 8 % faster than the first). With
// deterministic_choice the first candidate is taken untimed, so that a run repeats bit for bit.
// One set per device; used from one thread.
#pragma once

#include <cstdint>
#include <memory>

namespace titan::ops {

enum class MatmulType : uint8_t { kFloat32, kBFloat16, kFloat8E4M3 };

// D = op(A) · op(B) + beta · C, column-major as cuBLAS counts: A is m x k, B is k x n, D is m x n.
// Float8 operands have a scale for each row of op(A) and each column of op(B); Hopper wants them
// with A transposed and B not.
struct MatmulShape {
  int64_t m = 0, n = 0, k = 0;
  bool transpose_a = false, transpose_b = false;
  int64_t lda = 0, ldb = 0, ldc = 0, ldd = 0;
  MatmulType input = MatmulType::kBFloat16;
  MatmulType output = MatmulType::kBFloat16;  // of C and D
  bool has_c = false;                         // beta = 1 where true
  bool fast_accumulation = false;             // float8: partial sums stay in the tensor cores
  // Above 1, one launch makes as many products, each over its own equal part of k: D is parts
  // matrices of ldd x n. Operands are contiguous along k (A transposed, B not) and have no scales.
  int64_t parts = 1;
  bool aligned = false;  // set by run(): all operands start at multiples of 256 bytes
  auto operator<=>(const MatmulShape&) const = default;
};

struct MatmulOperands {
  const void* a = nullptr;
  const void* b = nullptr;
  const void* c = nullptr;
  void* d = nullptr;
  const float* a_scales = nullptr;  // float8 in one part: fp32 [m] and [n], 16-byte aligned
  const float* b_scales = nullptr;
};

class MatmulPlans {
 public:
  MatmulPlans();
  ~MatmulPlans();
  MatmulPlans(const MatmulPlans&) = delete;
  MatmulPlans& operator=(const MatmulPlans&) = delete;

  // Enqueues on ATen's current stream. c may be d. Throws Error when cuBLASLt has no algorithm.
  void run(const MatmulShape& shape, const MatmulOperands& operands);

  void set_deterministic_choice(bool deterministic);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace titan::ops
