// Times a linear group on the GPU as a training step runs it, in bf16 or with some of its members
// in float8: forward, dgrad and wgrad, the ops beside the group that write its float8 copies, all
// other quantization, and of the weight's quantization, which is made once per optimizer step (or
// once per gather), the share of a micro-batch. Neither communication, which is in high precision
// either way, nor recomputing the forward product is counted.
#pragma once

#include <string>
#include <vector>

#include "lib/ops/device.hpp"
#include "lib/parallel/mesh.hpp"
#include "lib/parallel/sharder.hpp"

namespace titan {

// Linears that share an input, by what their time depends on. Sizes are those of this rank.
struct LinearGroupKind {
  // Where the group stands. The ops beside it write the float8 copies of its input (norm before
  // qkv and gate_up, SwiGLU before down) and of its output's gradient (norm after wo, SwiGLU after
  // gate_up) where all its members are in float8; wo and down add the residual; the output's weight
  // gradient is always fp32 and accumulated.
  enum class Place { kQkv, kWo, kGateUp, kDown, kOutput };

  struct Member {
    std::string name;  // "wq"
    int64_t n = 0;
    bool operator==(const Member&) const = default;
  };

  std::string name;  // what its members' names have in common: "layers.*.attention."
  Place place = Place::kOutput;
  int64_t m = 0, k = 0;  // m: tokens of a micro-batch
  std::vector<Member> members;
  // Tensor-parallel ranks. Among several, tokens are gathered before the group or summed behind it,
  // so that norms write no copies and no residual is added; the SwiGLU does as ever.
  int64_t tp = 1;
  bool operator==(const LinearGroupKind&) const = default;
};

// By member: whether it computes in float8.
using Float8Members = std::vector<bool>;

struct LinearTimingConfig {
  Float8Recipe recipe = Float8Recipe::kRowwise;
  SharderConfig sharder;  // dtypes, and the micro-batches of an optimizer step
  MeshShape mesh = {};    // where shards are gathered, weights are quantized every time
};

// Milliseconds per micro-batch, one for each choice: the median of a few repetitions in which the
// choices take turns, with nothing of their operands in the L2; or what the host needs to enqueue
// the work where that is longer (on the CPU, for tests, the host's time). The output, which
// training runs in chunks of rows, is timed for one of them. The matmul plans tuned on the way stay
// with the device. Allocates the group's weights once for every choice; waits for the GPU.
std::vector<double> time_linear_group_sync(const ops::Device& device, const LinearGroupKind& kind,
                                           const std::vector<Float8Members>& choices,
                                           const LinearTimingConfig& config);

// Gives the memory that timing has left in ATen's cache back to the device.
void release_timing_memory();

}  // namespace titan
