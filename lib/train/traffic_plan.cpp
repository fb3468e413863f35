#include "lib/train/traffic_plan.hpp"

#include <cstdio>

#include "lib/model/decoder.hpp"
#include "lib/train/unit_memory.hpp"

namespace titan {
namespace {

constexpr int64_t kLossStatistics = 3 * 4;  // fp32, of a token on each tensor-parallel rank

// How often a micro-batch gathers and scatters all tokens, [T, D].
struct TokenExchanges {
  int64_t gathers = 0, scatters = 0;
};

TokenExchanges token_exchanges(const DecoderConfig& model) {
  TokenExchanges count;
  // Embedding: its output, and that output's gradient; head: its input, and that input's gradient.
  count.gathers += 2;
  count.scatters += 2;
  for (const BlockConfig& block : model.layers) {
    // Forward: both norms' outputs; what wo and w2 put out.
    count.gathers += 2;
    count.scatters += 2;
    // Backward: the gradients of what wo and w2 put out, both norms' outputs again for wgrad; the
    // gradients of both norms' outputs.
    count.gathers += 4;
    count.scatters += 2;
    // Made again: the feed-forward norm's output, or both and what wo puts out.
    if (block.recompute != Recompute::kNothing) count.gathers += 1;
    if (block.recompute == Recompute::kBlock) {
      count.gathers += 1;
      count.scatters += 1;
    }
  }
  return count;
}

}  // namespace

std::vector<Traffic> plan_traffic(const DecoderConfig& model, const PlanConfig& config) {
  const MeshShape& mesh = config.mesh;
  const int64_t micro_batches = config.sharder.micro_batches;
  std::vector<Traffic> traffic;
  // `bytes`: of the whole tensor, all of a step's added up.
  const auto add = [&](const char* axis, int64_t ranks, const char* collective, const char* what,
                       int64_t bytes) {
    const int64_t sent = bytes - bytes / ranks;
    if (sent > 0) traffic.push_back({axis, collective, what, sent});
  };

  int64_t gathered = 0, sent_gradients = 0, gradients = 0, norm_gradients = 0;
  const std::vector<Unit> units = declare_units(model, {.rank = 0, .size = mesh.tp});
  const bool embedding_by_rows =
      Embedding::exchanges_outputs(units[0].parameters[0].shape[0], config.tokens(), mesh.dp_shard);
  for (const Unit& unit : units) {
    const UnitBytes bytes = unit_bytes(unit, config);
    // The embedding and the head compute once between gathering and letting go, blocks twice.
    const int64_t times = is_block(unit) && config.sharder.reshard_after_forward ? 2 : 1;
    gradients += bytes.gradients;
    norm_gradients += bytes.gradients_of_unsplit;
    if (embedding_by_rows && &unit == &units[0]) continue;
    gathered += bytes.gathered * times;
    sent_gradients += bytes.sent_gradients();
  }
  add("dp_shard", mesh.dp_shard, "all_gather", "weights", micro_batches * gathered);
  add("dp_shard", mesh.dp_shard, "reduce_scatter", "gradients", micro_batches * sent_gradients);
  add("dp_replicate", mesh.dp_replicate, "all_reduce", "gradients", 2 * gradients);

  const int64_t tokens = micro_batches * config.tokens();
  const int64_t stream = tokens * model.embedding.dim * config.element();
  if (embedding_by_rows) {  // forward: tokens there, outputs back; backward: tokens and gradients
    const int64_t ids = 2 * tokens * 4;
    add("dp_shard", mesh.dp_shard, "all_gather", "embedding", mesh.dp_shard * (ids + stream));
    add("dp_shard", mesh.dp_shard, "reduce_scatter", "embedding", mesh.dp_shard * stream);
  }

  const TokenExchanges exchanges = token_exchanges(model);
  add("tp", mesh.tp, "all_gather", "activations", exchanges.gathers * stream);
  add("tp", mesh.tp, "reduce_scatter", "activations", exchanges.scatters * stream);
  if (config.loss_parallel) {
    add("tp", mesh.tp, "all_gather", "loss statistics", mesh.tp * tokens * kLossStatistics);
  } else {
    add("tp", mesh.tp, "all_gather", "logits",
        tokens * model.output.out_features() * config.element());
  }
  add("tp", mesh.tp, "all_reduce", "gradients of norms", 2 * norm_gradients);
  return traffic;
}

std::string describe(const std::vector<Traffic>& traffic) {
  std::string text = "Sent by each rank in a step:";
  for (const Traffic& each : traffic) {
    const double mib = static_cast<double>(each.bytes) / (1 << 20);
    const bool large = mib >= 100;
    char line[120];
    std::snprintf(line, sizeof line, "\n  %-12s  %-14s  %-18s  %9.2f %s", each.axis.c_str(),
                  each.collective.c_str(), each.what.c_str(), large ? mib / 1024 : mib,
                  large ? "GiB" : "MiB");
    text += line;
  }
  return text;
}

}  // namespace titan
