// A model as a tree of plain configs, before it is modules. The registry makes the tree, converters
// change it, build() turns it into modules; parameter counts, FLOPs, memory and reports are
// answered from the tree alone, so that any flavour can be planned on a laptop.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "lib/float8/recipe.hpp"
#include "lib/ops/initialise.hpp"
#include "lib/ops/rope.hpp"

namespace titan {

// How a linear's weight is split under tensor parallelism: by output rows, by input columns, or
// not.
enum class TensorParallelRole { kColumn, kRow, kReplicated };

// y = x · Wᵀ with W [out_features, in_features], no bias.
struct LinearConfig {
  std::string name;  // within its parent: "wq"
  int64_t in_features = 0;
  int64_t out_features = 0;
  ops::Initializer initializer;
  TensorParallelRole role = TensorParallelRole::kReplicated;
  std::optional<Float8Recipe> float8 = std::nullopt;  // set by a converter; none: high precision
  bool emulate_float8 = false;
};

// Linears that share an input and run as one product; each keeps its own name and checkpoint entry.
struct LinearGroup {
  std::vector<LinearConfig> members;
  int64_t in_features() const { return members.front().in_features; }
  int64_t out_features() const;
};

struct NormConfig {
  int64_t dim = 0;
  double eps = 1e-5;
};

struct AttentionConfig {
  int64_t heads = 0;
  int64_t kv_heads = 0;
  int64_t head_dim = 0;
  ops::RopeConfig rope;
  LinearGroup qkv;  // wq, wk, wv
  LinearGroup wo;
};

struct FeedForwardConfig {
  int64_t hidden = 0;
  LinearGroup gate_up;  // w1 (gate), w3 (up)
  LinearGroup down;     // w2
};

// What a block's backward makes again instead of keeping it. Norm outputs and the SwiGLU output are
// always made again: elementwise work costs less than the memory.
enum class Recompute {
  kNothing,  // no matmul and no attention repeated
  kGateUp,   // upstream's selective "op": the gate and up product is repeated
  kBlock,    // everything but the block's input
};

struct BlockConfig {
  NormConfig attention_norm;
  AttentionConfig attention;
  NormConfig ffn_norm;
  FeedForwardConfig feed_forward;
  Recompute recompute = Recompute::kNothing;
};

struct EmbeddingConfig {
  int64_t vocab_size = 0;
  int64_t dim = 0;
  ops::Initializer initializer;
};

struct DecoderConfig {
  std::string name;    // "llama3"
  std::string flavor;  // "8B"
  int64_t max_seq_len = 0;
  EmbeddingConfig embedding;
  std::vector<BlockConfig> layers;
  NormConfig norm;
  LinearGroup output;
};

// Calls visit(dotted name, linear, its group) for every linear in the order of the forward pass:
// "layers.0.attention.wq", ..., "output".
void for_each_linear(
    DecoderConfig& config,
    const std::function<void(const std::string&, LinearConfig&, LinearGroup&)>& visit);

// The tree as each of `tp` tensor-parallel ranks computes it: its heads, hidden channels and part
// of the vocabulary. Throws Error where one of them is no multiple of tp.
DecoderConfig tensor_parallel_part(DecoderConfig config, int64_t tp);

struct ParameterCount {
  int64_t total = 0;
  int64_t embedding = 0;
};
ParameterCount count_parameters(const DecoderConfig& config);

// The tree in lines of text, one module a line, with shapes and counts.
std::string describe(const DecoderConfig& config);

}  // namespace titan
