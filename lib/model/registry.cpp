#include "lib/model/registry.hpp"

#include <array>
#include <cmath>
#include <optional>

#include "lib/base/error.hpp"

namespace titan {
namespace {

// torchtitan v0.2.2, models/llama3/__init__.py.
struct Llama3Flavor {
  const char* name;
  int64_t dim, layers, heads, kv_heads;
  double ffn_multiplier;  // 1: none
  int64_t multiple_of;
  int64_t vocab_size;
};

constexpr std::array kLlama3Flavors = {
    Llama3Flavor{"debugmodel", 256, 6, 16, 16, 1.0, 256, 2048},
    Llama3Flavor{"8B", 4096, 32, 32, 8, 1.3, 1024, 128256},
    Llama3Flavor{"70B", 8192, 80, 64, 8, 1.3, 4096, 128256},
    Llama3Flavor{"405B", 16384, 126, 128, 8, 1.2, 4096, 128256},
};
constexpr std::array kFlavorsWithoutAttention = {"debugmodel_flex_attn", "debugmodel_varlen_attn",
                                                 "8B_flex", "8B_varlen"};

int64_t ffn_hidden(const Llama3Flavor& flavor) {
  auto hidden = static_cast<int64_t>(2 * (4 * flavor.dim) / 3);
  hidden = static_cast<int64_t>(flavor.ffn_multiplier * static_cast<double>(hidden));
  return (hidden + flavor.multiple_of - 1) / flavor.multiple_of * flavor.multiple_of;
}

// torch.nn.init.trunc_normal_ with its default absolute cut of +-2.
ops::Initializer truncated_normal(double std, double cut = 2.0) {
  return {.kind = ops::Initializer::Kind::kTruncatedNormal,
          .mean = 0,
          .std = std,
          .low = -cut,
          .high = cut};
}

LinearConfig linear(std::string name, int64_t in, int64_t out, double std,
                    TensorParallelRole role) {
  return {.name = std::move(name),
          .in_features = in,
          .out_features = out,
          .initializer = truncated_normal(std),
          .role = role};
}

BlockConfig llama3_block(const Llama3Flavor& flavor, int64_t layer) {
  const int64_t head_dim = flavor.dim / flavor.heads;
  const int64_t kv_dim = flavor.kv_heads * head_dim;
  const int64_t hidden = ffn_hidden(flavor);
  const double depth_std = 0.02 / std::sqrt(2.0 * static_cast<double>(layer + 1));
  const auto column = TensorParallelRole::kColumn;
  const auto row = TensorParallelRole::kRow;

  BlockConfig block;
  block.attention_norm = {flavor.dim, 1e-5};
  block.ffn_norm = {flavor.dim, 1e-5};
  block.attention.heads = flavor.heads;
  block.attention.kv_heads = flavor.kv_heads;
  block.attention.head_dim = head_dim;
  block.attention.rope = {
      .theta = 500000,
      .scaling = ops::RopeScaling{
          .factor = 8, .low_freq_factor = 1, .high_freq_factor = 4, .original_max_position = 8192}};
  block.attention.qkv.members = {linear("wq", flavor.dim, flavor.dim, 0.02, column),
                                 linear("wk", flavor.dim, kv_dim, 0.02, column),
                                 linear("wv", flavor.dim, kv_dim, 0.02, column)};
  block.attention.wo.members = {linear("wo", flavor.dim, flavor.dim, depth_std, row)};
  block.feed_forward.hidden = hidden;
  block.feed_forward.gate_up.members = {linear("w1", flavor.dim, hidden, 0.02, column),
                                        linear("w3", flavor.dim, hidden, depth_std, column)};
  block.feed_forward.down.members = {linear("w2", hidden, flavor.dim, depth_std, row)};
  return block;
}

DecoderConfig llama3(const Llama3Flavor& flavor, const FlavorOverrides& overrides) {
  const int64_t layers = overrides.n_layers > 0 ? overrides.n_layers : flavor.layers;
  const int64_t vocab = overrides.vocab_size > 0 ? overrides.vocab_size : flavor.vocab_size;
  DecoderConfig config;
  config.name = "llama3";
  config.flavor = flavor.name;
  config.max_seq_len = overrides.seq_len;
  config.embedding = {
      vocab, flavor.dim, {.kind = ops::Initializer::Kind::kNormal, .mean = 0, .std = 1}};
  for (int64_t layer = 0; layer < layers; ++layer) {
    config.layers.push_back(llama3_block(flavor, layer));
  }
  config.norm = {flavor.dim, 1e-5};
  const double output_std = 1 / std::sqrt(static_cast<double>(flavor.dim));
  config.output.members = {{.name = "output",
                            .in_features = flavor.dim,
                            .out_features = vocab,
                            .initializer = truncated_normal(output_std, 3 * output_std),
                            .role = TensorParallelRole::kColumn}};
  return config;
}

}  // namespace

DecoderConfig registry(const std::string& name, const std::string& flavor,
                       const FlavorOverrides& overrides) {
  if (name != "llama3") {
    throw InputError(concat("model.name \"", name, "\" is not supported yet; choose llama3"));
  }
  std::string choices;
  for (const Llama3Flavor& known : kLlama3Flavors) {
    if (flavor == known.name) return llama3(known, overrides);
    choices += concat(choices.empty() ? "" : ", ", known.name);
  }
  for (const char* known : kFlavorsWithoutAttention) {
    if (flavor == known) {
      throw InputError(concat("model.flavor \"", flavor,
                              "\" needs flex or varlen attention, which is not supported yet; "
                              "choose one of ",
                              choices));
    }
  }
  throw InputError(concat("model.flavor \"", flavor, "\" is not a flavour of ", name,
                          "; choose one of ", choices));
}

}  // namespace titan
