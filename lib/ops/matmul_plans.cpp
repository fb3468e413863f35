#include "lib/ops/matmul_plans.hpp"

#include "lib/base/error.hpp"

#if TITAN_CUDA

#include <ATen/ops/empty.h>
#include <cublasLt.h>
#include <cuda_runtime_api.h>

#include <algorithm>
#include <array>
#include <limits>
#include <map>
#include <vector>

#include "lib/ops/device.hpp"

namespace titan::ops {
namespace {

// NVIDIA's figure for Hopper.
constexpr size_t kWorkspaceBytes = 32u << 20;
// Where tensors start, and where column slices of a wider one do at least.
constexpr uint32_t kAlignment = 256;
constexpr uint32_t kSliceAlignment = 16;
constexpr int kCandidates = 8;
constexpr int kTimedRuns = 2;
// Large products are timed once, and after this many milliseconds of trials no more candidates are
// tried than the first few, where the gains have been.
constexpr float kLongMilliseconds = 5;
constexpr float kTrialMilliseconds = 60;
constexpr int kFewestCandidates = 4;

void check(cublasStatus_t status, const char* call) {
  TITAN_CHECK(status == CUBLAS_STATUS_SUCCESS, call, " failed: ", cublasLtGetStatusString(status));
}

void check(cudaError_t status, const char* call) {
  TITAN_CHECK(status == cudaSuccess, call, " failed: ", cudaGetErrorString(status));
}

cudaDataType_t cuda_type(MatmulType type) {
  switch (type) {
    case MatmulType::kFloat32:
      return CUDA_R_32F;
    case MatmulType::kBFloat16:
      return CUDA_R_16BF;
    case MatmulType::kFloat8E4M3:
      return CUDA_R_8F_E4M3;
  }
  throw Error("unknown matmul type");
}

class Layout {
 public:
  Layout(MatmulType type, int64_t rows, int64_t columns, int64_t stride) {
    check(cublasLtMatrixLayoutCreate(&layout_, cuda_type(type), static_cast<uint64_t>(rows),
                                     static_cast<uint64_t>(columns), stride),
          "cublasLtMatrixLayoutCreate");
  }
  // `stride`: elements from matrix to matrix.
  void repeat(int64_t count, int64_t stride) {
    set(CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, static_cast<int32_t>(count));
    set(CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, stride);
  }
  Layout(Layout&& other) noexcept : layout_(std::exchange(other.layout_, nullptr)) {}
  ~Layout() {
    if (layout_ != nullptr) cublasLtMatrixLayoutDestroy(layout_);
  }
  cublasLtMatrixLayout_t get() const { return layout_; }

 private:
  template <class Value>
  void set(cublasLtMatrixLayoutAttribute_t attribute, Value value) {
    check(cublasLtMatrixLayoutSetAttribute(layout_, attribute, &value, sizeof value),
          "cublasLtMatrixLayoutSetAttribute");
  }

  cublasLtMatrixLayout_t layout_ = nullptr;
};

class Plan {
 public:
  Plan(const MatmulShape& s, const MatmulOperands& operands)
      : a_(s.input, s.transpose_a ? s.k / s.parts : s.m, s.transpose_a ? s.m : s.k, s.lda),
        b_(s.input, s.transpose_b ? s.n : s.k / s.parts, s.transpose_b ? s.k : s.n, s.ldb),
        c_(s.output, s.m, s.n, s.ldc),
        d_(s.output, s.m, s.n, s.ldd),
        beta_(s.has_c ? 1.0f : 0.0f),
        scaled_(s.input == MatmulType::kFloat8E4M3 && s.parts == 1),
        alignment_(s.aligned ? kAlignment : kSliceAlignment) {
    check(cublasLtMatmulDescCreate(&descriptor_, CUBLAS_COMPUTE_32F, CUDA_R_32F),
          "cublasLtMatmulDescCreate");
    set(CUBLASLT_MATMUL_DESC_TRANSA, s.transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N);
    set(CUBLASLT_MATMUL_DESC_TRANSB, s.transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N);
    if (s.input == MatmulType::kFloat8E4M3) {
      set(CUBLASLT_MATMUL_DESC_FAST_ACCUM, static_cast<int8_t>(s.fast_accumulation));
    }
    if (s.parts > 1) {
      TITAN_CHECK(s.transpose_a && !s.transpose_b && !s.has_c && s.k % s.parts == 0, "a matmul in ",
                  s.parts, " parts of ", s.k, " is not one of aᵀ · b alone");
      for (Layout* operand : {&a_, &b_}) operand->repeat(s.parts, s.k / s.parts);
      for (Layout* result : {&c_, &d_}) result->repeat(s.parts, s.ldd * s.n);
    }
    if (scaled_) {
      set(CUBLASLT_MATMUL_DESC_A_SCALE_MODE, CUBLASLT_MATMUL_MATRIX_SCALE_OUTER_VEC_32F);
      set(CUBLASLT_MATMUL_DESC_B_SCALE_MODE, CUBLASLT_MATMUL_MATRIX_SCALE_OUTER_VEC_32F);
      set_scales(operands);  // the heuristic wants to see them
    }
  }
  Plan(const Plan&) = delete;
  Plan& operator=(const Plan&) = delete;
  ~Plan() {
    if (descriptor_ != nullptr) cublasLtMatmulDescDestroy(descriptor_);
  }

  std::vector<cublasLtMatmulHeuristicResult_t> candidates(cublasLtHandle_t handle) const {
    cublasLtMatmulPreference_t preference = nullptr;
    check(cublasLtMatmulPreferenceCreate(&preference), "cublasLtMatmulPreferenceCreate");
    cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                         &kWorkspaceBytes, sizeof kWorkspaceBytes);
    for (auto attribute :
         {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
          CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES}) {
      cublasLtMatmulPreferenceSetAttribute(preference, attribute, &alignment_, sizeof alignment_);
    }
    std::vector<cublasLtMatmulHeuristicResult_t> results(kCandidates);
    int found = 0;
    cublasStatus_t status =
        cublasLtMatmulAlgoGetHeuristic(handle, descriptor_, a_.get(), b_.get(), c_.get(), d_.get(),
                                       preference, kCandidates, results.data(), &found);
    cublasLtMatmulPreferenceDestroy(preference);
    if (status != CUBLAS_STATUS_SUCCESS) found = 0;
    results.resize(static_cast<size_t>(found));
    return results;
  }

  cublasStatus_t run(cublasLtHandle_t handle, const cublasLtMatmulAlgo_t& algorithm,
                     const MatmulOperands& operands, void* workspace, cudaStream_t stream) {
    if (scaled_) set_scales(operands);
    const float one = 1.0f;
    const void* c = operands.c != nullptr ? operands.c : operands.d;
    return cublasLtMatmul(handle, descriptor_, &one, operands.a, a_.get(), operands.b, b_.get(),
                          &beta_, c, c_.get(), operands.d, d_.get(), &algorithm, workspace,
                          kWorkspaceBytes, stream);
  }

  bool accepts(cublasLtHandle_t handle, const cublasLtMatmulAlgo_t& algorithm) const {
    cublasLtMatmulHeuristicResult_t result;
    return cublasLtMatmulAlgoCheck(handle, descriptor_, a_.get(), b_.get(), c_.get(), d_.get(),
                                   &algorithm, &result) == CUBLAS_STATUS_SUCCESS &&
           result.workspaceSize <= kWorkspaceBytes;
  }

  cublasLtMatmulAlgo_t chosen{};

 private:
  template <class Value>
  void set(cublasLtMatmulDescAttributes_t attribute, Value value) {
    check(cublasLtMatmulDescSetAttribute(descriptor_, attribute, &value, sizeof value),
          "cublasLtMatmulDescSetAttribute");
  }

  void set_scales(const MatmulOperands& operands) {
    set(CUBLASLT_MATMUL_DESC_A_SCALE_POINTER, operands.a_scales);
    set(CUBLASLT_MATMUL_DESC_B_SCALE_POINTER, operands.b_scales);
  }

  cublasLtMatmulDesc_t descriptor_ = nullptr;
  Layout a_, b_, c_, d_;
  float beta_;
  bool scaled_;
  uint32_t alignment_;
};

}  // namespace

struct MatmulPlans::State {
  cublasLtHandle_t handle = nullptr;
  // One per stream: two products in flight must not share it.
  std::map<cudaStream_t, at::Tensor> workspaces;
  std::map<MatmulShape, std::unique_ptr<Plan>> plans;
  bool deterministic_choice = false;

  void* workspace(cudaStream_t stream) {
    at::Tensor& tensor = workspaces[stream];
    if (!tensor.defined()) {
      tensor = at::empty({static_cast<int64_t>(kWorkspaceBytes)},
                         at::TensorOptions().device(at::kCUDA).dtype(at::kByte));
    }
    return tensor.data_ptr();
  }

  std::unique_ptr<Plan> make(const MatmulShape& shape, const MatmulOperands& operands,
                             cudaStream_t stream) {
    auto plan = std::make_unique<Plan>(shape, operands);
    auto candidates = plan->candidates(handle);
    TITAN_CHECK(!candidates.empty(), "cuBLASLt has no algorithm for a product of ", shape.m, " x ",
                shape.n, " x ", shape.k, " (leading dimensions ", shape.lda, ", ", shape.ldb, ", ",
                shape.ldd, ")");
    plan->chosen = candidates.front().algo;
    if (deterministic_choice || candidates.size() == 1) return plan;
    if (shape.has_c && operands.c == operands.d) {
      // A trial would change the sum. The choice for the same product without it is as good.
      MatmulShape plain = shape;
      plain.has_c = false;
      if (auto found = plans.find(plain); found != plans.end() && found->second != nullptr &&
                                          plan->accepts(handle, found->second->chosen)) {
        plan->chosen = found->second->chosen;
      }
      return plan;
    }

    cudaEvent_t start = nullptr, stop = nullptr;
    check(cudaEventCreate(&start), "cudaEventCreate");
    check(cudaEventCreate(&stop), "cudaEventCreate");
    float best = std::numeric_limits<float>::max();
    float spent = 0;
    int tried = 0;
    for (const auto& candidate : candidates) {
      if (spent > kTrialMilliseconds && tried >= kFewestCandidates) break;
      if (plan->run(handle, candidate.algo, operands, workspace(stream), stream) !=
          CUBLAS_STATUS_SUCCESS) {
        continue;  // a candidate may pass the heuristic and fail when it runs
      }
      cudaEventRecord(start, stream);
      const int runs = best > kLongMilliseconds && tried > 0 ? 1 : kTimedRuns;
      for (int run = 0; run < runs; ++run) {
        plan->run(handle, candidate.algo, operands, workspace(stream), stream);
      }
      cudaEventRecord(stop, stream);
      check(cudaEventSynchronize(stop), "cudaEventSynchronize");
      float milliseconds = 0;
      cudaEventElapsedTime(&milliseconds, start, stop);
      spent += milliseconds * static_cast<float>(runs + 1) / static_cast<float>(runs);
      ++tried;
      milliseconds /= static_cast<float>(runs);
      if (milliseconds < best) {
        best = milliseconds;
        plan->chosen = candidate.algo;
      }
    }
    cudaEventDestroy(start);
    cudaEventDestroy(stop);
    return plan;
  }
};

MatmulPlans::MatmulPlans() : state_(std::make_unique<State>()) {
  check(cublasLtCreate(&state_->handle), "cublasLtCreate");
}

MatmulPlans::~MatmulPlans() {
  if (state_->handle != nullptr) cublasLtDestroy(state_->handle);
}

void MatmulPlans::set_deterministic_choice(bool deterministic) {
  state_->deterministic_choice = deterministic;
}

void MatmulPlans::run(const MatmulShape& requested, const MatmulOperands& operands) {
  MatmulShape shape = requested;
  shape.aligned = true;
  for (const void* operand :
       {operands.a, operands.b, operands.c, const_cast<const void*>(operands.d)}) {
    shape.aligned &= reinterpret_cast<uintptr_t>(operand) % kAlignment == 0;
  }
  cudaStream_t stream = current_stream();
  std::unique_ptr<Plan>& plan = state_->plans[shape];
  if (plan == nullptr) plan = state_->make(shape, operands, stream);
  check(plan->run(state_->handle, plan->chosen, operands, state_->workspace(stream), stream),
        "cublasLtMatmul");
}

}  // namespace titan::ops

#else

namespace titan::ops {

struct MatmulPlans::State {};
MatmulPlans::MatmulPlans() = default;
MatmulPlans::~MatmulPlans() = default;
void MatmulPlans::set_deterministic_choice(bool) {}
void MatmulPlans::run(const MatmulShape&, const MatmulOperands&) {
  throw Error("this build has no CUDA kernels");
}

}  // namespace titan::ops

#endif
