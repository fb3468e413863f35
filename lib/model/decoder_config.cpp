#include "lib/model/decoder_config.hpp"

#include <numeric>

#include "lib/base/error.hpp"

namespace titan {

int64_t LinearGroup::out_features() const {
  return std::accumulate(members.begin(), members.end(), int64_t{0},
                         [](int64_t sum, const LinearConfig& m) { return sum + m.out_features; });
}

void for_each_linear(
    DecoderConfig& config,
    const std::function<void(const std::string&, LinearConfig&, LinearGroup&)>& visit) {
  auto visit_group = [&](const std::string& prefix, LinearGroup& group) {
    for (LinearConfig& linear : group.members) visit(prefix + linear.name, linear, group);
  };
  for (size_t layer = 0; layer < config.layers.size(); ++layer) {
    BlockConfig& block = config.layers[layer];
    const std::string prefix = concat("layers.", layer, ".");
    visit_group(prefix + "attention.", block.attention.qkv);
    visit_group(prefix + "attention.", block.attention.wo);
    visit_group(prefix + "feed_forward.", block.feed_forward.gate_up);
    visit_group(prefix + "feed_forward.", block.feed_forward.down);
  }
  visit_group("", config.output);
}

DecoderConfig tensor_parallel_part(DecoderConfig config, int64_t tp) {
  const auto divide = [&](int64_t& extent, const std::string& name) {
    TITAN_CHECK(extent % tp == 0, name, ": ", extent, " cannot be split among ", tp,
                " tensor-parallel ranks");
    extent /= tp;
  };
  divide(config.embedding.vocab_size, "tok_embeddings");
  for (BlockConfig& block : config.layers) {
    divide(block.attention.heads, "heads");
    divide(block.attention.kv_heads, "key/value heads");
    divide(block.feed_forward.hidden, "feed-forward channels");
  }
  for_each_linear(config, [&](const std::string& name, LinearConfig& linear, LinearGroup&) {
    if (linear.role == TensorParallelRole::kColumn) divide(linear.out_features, name);
    if (linear.role == TensorParallelRole::kRow) divide(linear.in_features, name);
  });
  return config;
}

ParameterCount count_parameters(const DecoderConfig& config) {
  ParameterCount count;
  count.embedding = config.embedding.vocab_size * config.embedding.dim;
  count.total = count.embedding + config.norm.dim;
  for (const BlockConfig& block : config.layers) {
    count.total += block.attention_norm.dim + block.ffn_norm.dim;
  }
  DecoderConfig copy = config;
  for_each_linear(copy, [&](const std::string&, LinearConfig& linear, LinearGroup&) {
    count.total += linear.in_features * linear.out_features;
  });
  return count;
}

namespace {

std::string describe(const LinearGroup& group) {
  std::string text;
  for (const LinearConfig& linear : group.members) {
    text += concat(text.empty() ? "" : ", ", linear.name, " [", linear.out_features, ", ",
                   linear.in_features, "]");
  }
  return text;
}

const char* describe(Recompute recompute) {
  switch (recompute) {
    case Recompute::kNothing:
      return "nothing";
    case Recompute::kGateUp:
      return "gate and up product";
    case Recompute::kBlock:
      return "the block";
  }
  return "";
}

bool same_but_initial_values(const BlockConfig& a, const BlockConfig& b) {
  return a.recompute == b.recompute && describe(a.attention.qkv) == describe(b.attention.qkv) &&
         describe(a.feed_forward.gate_up) == describe(b.feed_forward.gate_up);
}

std::string describe(const BlockConfig& block) {
  return concat("    attention_norm: RMSNorm [", block.attention_norm.dim, "]\n",
                "    attention: ", block.attention.heads, " heads of ", block.attention.head_dim,
                ", ", block.attention.kv_heads, " key/value heads\n", "      ",
                describe(block.attention.qkv), "\n      ", describe(block.attention.wo), "\n",
                "    ffn_norm: RMSNorm [", block.ffn_norm.dim, "]\n", "    feed_forward: SwiGLU\n",
                "      ", describe(block.feed_forward.gate_up), "\n      ",
                describe(block.feed_forward.down), "\n",
                "    recomputed in backward: ", describe(block.recompute), "\n");
}

}  // namespace

std::string describe(const DecoderConfig& config) {
  std::string text = concat(config.name, " ", config.flavor, "\n  tok_embeddings: [",
                            config.embedding.vocab_size, ", ", config.embedding.dim, "]\n");
  for (size_t first = 0; first < config.layers.size();) {
    size_t last = first;
    while (last + 1 < config.layers.size() &&
           same_but_initial_values(config.layers[first], config.layers[last + 1])) {
      ++last;
    }
    text += first == last ? concat("  layers.", first, ":\n")
                          : concat("  layers.", first, " to layers.", last, ", each:\n");
    text += describe(config.layers[first]);
    first = last + 1;
  }
  text += concat("  norm: RMSNorm [", config.norm.dim, "]\n  ", describe(config.output), "\n");
  return text;
}

}  // namespace titan
