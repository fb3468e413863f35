#include "lib/train/step_floors.hpp"

#include <algorithm>

#include "lib/ops/h200_rates.hpp"

namespace titan {
namespace {

namespace h200 = ops::h200;

bool all_in(const LinearGroup& group, bool (*wanted)(const LinearConfig&)) {
  return std::ranges::all_of(group.members, wanted);
}
bool in_float8(const LinearConfig& linear) { return linear.float8.has_value(); }
bool rowwise(const LinearConfig& linear) { return linear.float8 == Float8Recipe::kRowwise; }

// Bytes for each token, by part, that a block's elementwise kernels move: each tensor read once by
// every kernel that needs it, and written once. Groups that are partly in float8 count as if they
// were not.
std::map<std::string, double> elementwise_bytes(const BlockConfig& block) {
  const AttentionConfig& attention = block.attention;
  const FeedForwardConfig& feed_forward = block.feed_forward;
  const double dim = static_cast<double>(block.attention_norm.dim);
  const double hidden = static_cast<double>(feed_forward.hidden);
  const double qkv_width = static_cast<double>(attention.qkv.out_features());
  const bool qkv = all_in(attention.qkv, in_float8), wo = all_in(attention.wo, in_float8),
             gate_up = all_in(feed_forward.gate_up, in_float8),
             down = all_in(feed_forward.down, in_float8);
  const bool qkv_wgrad = all_in(attention.qkv, rowwise), wo_wgrad = all_in(attention.wo, rowwise),
             gate_up_wgrad = all_in(feed_forward.gate_up, rowwise),
             down_wgrad = all_in(feed_forward.down, rowwise);
  std::map<std::string, double> bytes;

  // Forward: x in, the output or its row copy out. Backward: dy, x and the residual's gradient in,
  // dx out, the output again for a wgrad in high precision, dx's row copy for wo.
  bytes["norms"] = ((qkv ? 3 : 4) + (gate_up ? 3 : 4)) * dim +
                   (8 + (qkv_wgrad ? 0 : 2) + 8 + (gate_up_wgrad ? 0 : 2) + (wo ? 1 : 0)) * dim;
  // Forward: gate and up in, the output or its row copy out. Backward: those and the output's
  // gradient in, the gradients of gate and up out, with their row copy, and the output again.
  const bool output_again = !(down_wgrad && gate_up);
  bytes["swiglu, rope"] =
      ((down ? 5 : 6) + 10 + (gate_up ? 2 : 0) + (output_again ? 2 : 0)) * hidden;
  // Forward in place: q and k in and out. Backward: dq, dk and dv in and out.
  const double q_and_k = (qkv_width + dim) / 2;  // kv_heads <= heads: q is dim wide
  bytes["swiglu, rope"] += 4 * q_and_k + 4 * qkv_width;

  double& copies = bytes["quantize"];
  if (qkv) copies += (qkv_wgrad ? 3 * dim + 6 * qkv_width : 3 * qkv_width);
  if (wo) copies += (wo_wgrad ? 3 + 3 + 3 : 3) * dim;
  if (gate_up_wgrad) copies += 3 * dim + 3 * 2 * hidden;
  if (down) copies += (down_wgrad ? 5 * hidden + 6 * dim : 3 * dim);
  return bytes;
}

}  // namespace

std::map<std::string, double> step_floors(const JobPlan& plan, const JobConfig& job) {
  const double tokens = static_cast<double>(plan.tokens_per_step);
  const double parameters = static_cast<double>(plan.parameters.total);
  const auto milliseconds = [](double bytes) { return bytes / h200::kCopyBytes * 1e3; };
  std::map<std::string, double> floor;
  DecoderConfig model = plan.model;
  for_each_linear(model, [&](const std::string&, LinearConfig& linear, LinearGroup&) {
    const double weights = static_cast<double>(linear.in_features * linear.out_features);
    const double flops = 2 * tokens * weights;
    floor["matmul"] += flops * 1e3 *
                       (1 / (in_float8(linear) ? h200::kFloat8FastFlops : h200::kMatmulFlops) +
                        1 / (in_float8(linear) ? h200::kFloat8FullFlops : h200::kMatmulFlops) +
                        1 / (rowwise(linear) ? h200::kFloat8FullFlops : h200::kMatmulFlops));
    // Both copies of the weight once a step, from bf16: 6 bytes an element.
    if (in_float8(linear)) floor["quantize"] += milliseconds(6 * weights);
  });
  for (const BlockConfig& block : plan.model.layers) {
    // Causal: half of 2 products of S x S x width for every sequence; backward counts 2.5 times.
    const double width = static_cast<double>(block.attention.heads * block.attention.head_dim);
    const double flops = 2 * tokens * static_cast<double>(job.training.seq_len) * width;
    floor["attention"] +=
        (flops / h200::kAttentionForwardFlops + 2.5 * flops / h200::kAttentionBackwardFlops) * 1e3;
    for (const auto& [part, bytes] : elementwise_bytes(block)) {
      floor[part] += milliseconds(bytes * tokens);
    }
  }
  const double vocab = static_cast<double>(plan.model.embedding.vocab_size);
  floor["loss"] = milliseconds(4 * vocab * tokens);
  // p, m, v read and written, bf16 gradient read twice (norm and update), bf16 weight written.
  const double moments = job.optimizer.state_dtype == config::Dtype::kBfloat16 ? 8 : 16;
  floor["optimizer"] = milliseconds((8 + moments + 2 * 2 + 2) * parameters);
  return floor;
}

}  // namespace titan
