// Each module's hand-written backward against torch's autograd through a plain forward, in fp64.
#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include "lib/model/declare.hpp"
#include "lib/model/decoder.hpp"

namespace titan {
namespace {

constexpr int64_t kBatch = 2, kSeqLen = 7, kTokens = kBatch * kSeqLen;
constexpr int64_t kHeads = 4, kKvHeads = 2, kHeadDim = 6, kDim = kHeads * kHeadDim;
constexpr int64_t kHidden = 20, kVocab = 31;
constexpr double kEps = 1e-5;

LinearGroup linears(std::initializer_list<std::pair<const char*, int64_t>> outs, int64_t in) {
  LinearGroup group;
  for (auto [name, out] : outs) group.members.push_back({name, in, out, {}, {}});
  return group;
}

BlockConfig block_config(Recompute recompute) {
  BlockConfig block;
  block.attention_norm = block.ffn_norm = {kDim, kEps};
  block.attention.heads = kHeads;
  block.attention.kv_heads = kKvHeads;
  block.attention.head_dim = kHeadDim;
  block.attention.rope = {.theta = 100, .scaling = {}};
  block.attention.qkv =
      linears({{"wq", kDim}, {"wk", kKvHeads * kHeadDim}, {"wv", kKvHeads * kHeadDim}}, kDim);
  block.attention.wo = linears({{"wo", kDim}}, kDim);
  block.feed_forward.hidden = kHidden;
  block.feed_forward.gate_up = linears({{"w1", kHidden}, {"w3", kHidden}}, kDim);
  block.feed_forward.down = linears({{"w2", kDim}}, kHidden);
  block.recompute = recompute;
  return block;
}

DecoderConfig decoder_config() {
  DecoderConfig config;
  config.embedding = {kVocab, kDim, {}};
  config.norm = {kDim, kEps};
  config.output = linears({{"output", kVocab}}, kDim);
  return config;
}

// ---- The same in plain ATen, through which autograd finds its way ----

at::Tensor plain_norm(const at::Tensor& x, const at::Tensor& weight) {
  return x * (x.pow(2).mean(-1, /*keepdim=*/true) + kEps).rsqrt() * weight;
}

at::Tensor plain_rotation(const at::Tensor& heads, const at::Tensor& table) {  // [B, S, heads, d]
  const at::Tensor angles = at::view_as_complex(table).unsqueeze(1);
  const at::Tensor pairs = at::view_as_complex(heads.unflatten(-1, {-1, 2}).contiguous());
  return at::view_as_real(pairs * angles).flatten(-2);
}

at::Tensor plain_attention(const at::Tensor& x, const at::Tensor& wqkv, const at::Tensor& wo,
                           const at::Tensor& table) {
  const at::Tensor heads =
      x.matmul(wqkv.t()).view({kBatch, kSeqLen, kHeads + 2 * kKvHeads, kHeadDim});
  at::Tensor q = plain_rotation(heads.narrow(2, 0, kHeads), table);
  at::Tensor k = plain_rotation(heads.narrow(2, kHeads, kKvHeads), table);
  at::Tensor v = heads.narrow(2, kHeads + kKvHeads, kKvHeads);
  k = k.repeat_interleave(kHeads / kKvHeads, 2);
  v = v.repeat_interleave(kHeads / kKvHeads, 2);
  const at::Tensor scores = at::einsum("bshd,bthd->bhst", {q, k}) / std::sqrt(1.0 * kHeadDim);
  const at::Tensor future = at::ones({kSeqLen, kSeqLen}, at::kBool).triu(1);
  const at::Tensor shares = scores.masked_fill(future, -INFINITY).softmax(-1);
  const at::Tensor out = at::einsum("bhst,bthd->bshd", {shares, v});
  return out.reshape({kTokens, kDim}).matmul(wo.t());
}

at::Tensor plain_feed_forward(const at::Tensor& x, const at::Tensor& gate_up,
                              const at::Tensor& down) {
  const at::Tensor both = x.matmul(gate_up.t());
  const at::Tensor gate = both.narrow(1, 0, kHidden), up = both.narrow(1, kHidden, kHidden);
  return (gate * gate.sigmoid() * up).matmul(down.t());
}

at::Tensor plain_head(const at::Tensor& x, const at::Tensor& norm, const at::Tensor& output,
                      const at::Tensor& labels, double inverse_valid_tokens) {
  const at::Tensor log_shares = plain_norm(x, norm).matmul(output.t()).log_softmax(-1);
  const at::Tensor counted = labels.ne(-100);
  const at::Tensor columns = labels.clamp_min(0).to(at::kLong).unsqueeze(1);
  const at::Tensor losses = -log_shares.gather(1, columns).squeeze(1);
  return (losses * counted).sum() * inverse_valid_tokens;
}

// ---- Comparison ----

void expect_close(const at::Tensor& actual, const at::Tensor& expected, const std::string& what) {
  ASSERT_EQ(actual.sizes(), expected.sizes()) << what;
  ASSERT_GT(expected.norm().item<double>(), 0) << what;
  EXPECT_LT(((actual - expected).norm() / expected.norm()).item<double>(), 1e-12) << what;
}

std::vector<at::Tensor> autograd(const at::Tensor& out, const at::Tensor& dout,
                                 std::vector<at::Tensor> inputs) {
  return torch::autograd::grad({out}, inputs, {dout});
}

// A unit's weights as leaves of autograd, and a place for the gradients that a module writes: to be
// overwritten, or (with accumulate) added to.
class UnitUnderTest {
 public:
  UnitUnderTest(const std::vector<Parameter>& parameters, bool accumulate) {
    written.accumulate = accumulate;
    for (const Parameter& parameter : parameters) {
      names_.push_back(parameter.members.front().name);
      const at::Tensor values = 0.4 * at::randn(parameter.shape, at::kDouble);
      leaves.push_back(values.clone().requires_grad_(true));
      weights.push_back({parameter.shape, values, {}});
      for (const ParameterRun& run : parameter.runs) weights.back().runs.push_back({run, {}, {}});
      at::Tensor before = accumulate ? at::randn(parameter.shape, at::kDouble)
                                     : at::full(parameter.shape, NAN, at::kDouble);
      written.tensors.push_back(before);
      before_.push_back(before.clone());
    }
  }

  // gradients: of the leaves, from autograd.
  void expect_written(const std::vector<at::Tensor>& gradients) const {
    for (size_t i = 0; i < leaves.size(); ++i) {
      expect_close(written[i], written.accumulate ? before_[i] + gradients[i] : gradients[i],
                   names_[i]);
    }
  }

  std::vector<at::Tensor> leaves;
  Weights weights;  // the leaves' values, for the modules
  Gradients written;

 private:
  std::vector<at::Tensor> before_;
  std::vector<std::string> names_;
};

at::Tensor leaf(at::IntArrayRef sizes) {
  return at::randn(sizes, at::kDouble).requires_grad_(true);
}

struct ModuleGradient : testing::TestWithParam<bool> {
  bool accumulate() const { return GetParam(); }
  void SetUp() override { at::manual_seed(17); }

  ops::Device device = ops::Device::cpu();
  at::Tensor table =
      ops::rope_table(kSeqLen, kHeadDim, block_config({}).attention.rope, at::kCPU).to(at::kDouble);
  StepContext context{device, kBatch, kSeqLen, table};
  at::Tensor x = leaf({kTokens, kDim});
  at::Tensor dy = at::randn({kTokens, kDim}, at::kDouble);

  // Of the unit's first linear group, whose input is x; the weight's in two halves.
  void expect_input_and_weight_gradient(UnitUnderTest& unit, const LinearGradient& dy,
                                        const at::Tensor& expected_dx) {
    const Weight& weight = unit.weights[0];
    expect_close(linear_backward_input(context, weight, dy), expected_dx, "dx");
    for (const Rows half : {Rows::kFirstHalf, Rows::kSecondHalf}) {
      linear_backward_weight(context, weight, dy, {x.detach(), {}}, unit.written[0],
                             unit.written.accumulate, half);
    }
  }
};
INSTANTIATE_TEST_SUITE_P(, ModuleGradient, testing::Bool(), [](const auto& info) {
  return info.param ? "Accumulated" : "Overwritten";
});

TEST_P(ModuleGradient, Attention) {
  const AttentionConfig config = block_config({}).attention;
  UnitUnderTest unit({declare_linears(config.qkv, ""), declare_linears(config.wo, "")},
                     accumulate());
  const at::Tensor residual = at::randn({kTokens, kDim}, at::kDouble);
  const at::Tensor y = residual + plain_attention(x, unit.leaves[0], unit.leaves[1], table);
  const auto expected = autograd(y, dy, {x, unit.leaves[0], unit.leaves[1]});

  const Attention attention(config, 0, 1);
  const Weights& weights = unit.weights;
  Attention::Saved saved;
  const at::Tensor product =
      linear_forward(context, weights[0], linear_input(weights[0], x.detach()));
  expect_close(attention.forward(context, weights, product, residual, saved), y.detach(), "y");
  const LinearGradient dqkv = attention.backward(context, weights, unit.written, dy, {}, saved);
  EXPECT_FALSE(saved.qkv.defined()) << "backward frees what was saved";
  expect_input_and_weight_gradient(unit, dqkv, expected[0]);
  unit.expect_written({expected[1], expected[2]});
}

TEST_P(ModuleGradient, FeedForward) {
  const FeedForwardConfig config = block_config({}).feed_forward;
  UnitUnderTest unit({declare_linears(config.gate_up, ""), declare_linears(config.down, "")},
                     accumulate());
  const at::Tensor residual = at::randn({kTokens, kDim}, at::kDouble);
  const at::Tensor y = residual + plain_feed_forward(x, unit.leaves[0], unit.leaves[1]);
  const auto expected = autograd(y, dy, {x, unit.leaves[0], unit.leaves[1]});

  const FeedForward feed_forward(0, 1);
  const Weights& weights = unit.weights;
  FeedForward::Saved saved;
  const at::Tensor product =
      linear_forward(context, weights[0], linear_input(weights[0], x.detach()));
  expect_close(feed_forward.forward(context, weights, product, residual, saved), y.detach(), "y");
  const LinearGradient dgate_up = feed_forward.backward(context, weights, unit.written, dy, saved);
  expect_input_and_weight_gradient(unit, dgate_up, expected[0]);
  unit.expect_written({expected[1], expected[2]});
}

TEST_P(ModuleGradient, TransformerBlock) {
  for (Recompute recompute : {Recompute::kNothing, Recompute::kGateUp, Recompute::kBlock}) {
    SCOPED_TRACE(static_cast<int>(recompute));
    const BlockConfig config = block_config(recompute);
    UnitUnderTest unit(TransformerBlock::declare(config, "layers.0").parameters, accumulate());
    const auto& w = unit.leaves;  // attention_norm, qkv, wo, ffn_norm, gate_up, down
    const at::Tensor mid = x + plain_attention(plain_norm(x, w[0]), w[1], w[2], table);
    const at::Tensor y = mid + plain_feed_forward(plain_norm(mid, w[3]), w[4], w[5]);
    auto expected = autograd(y, dy, {x, w[0], w[1], w[2], w[3], w[4], w[5]});

    const TransformerBlock block(config);
    const Weights& weights = unit.weights;
    std::unique_ptr<Block::Saved> saved;
    expect_close(block.forward(context, weights, x.detach(), &saved), y.detach(), "y");
    expect_close(block.forward(context, weights, x.detach(), nullptr), y.detach(),
                 "y of validation");
    const TokenGradient dx =
        block.backward(context, weights, unit.written, {dy, dy}, std::move(saved));
    expect_close(dx.own, expected.front(), "dx");
    expected.erase(expected.begin());
    unit.expect_written(expected);
  }
}

TEST_P(ModuleGradient, Embedding) {
  UnitUnderTest unit(Embedding::declare(decoder_config().embedding).parameters, accumulate());
  at::Tensor tokens = at::randint(kVocab, {kTokens}, at::kInt);
  tokens[3] = tokens[11] = tokens[0].clone();  // rows of one token add up
  const at::Tensor y = unit.leaves[0].index_select(0, tokens);

  const Embedding embedding(decoder_config().embedding);
  EXPECT_TRUE(at::equal(embedding.forward(context, {unit.weights[0].compute}, tokens), y.detach()));
  embedding.backward({unit.written[0]}, unit.written.accumulate, dy, tokens);
  unit.expect_written(autograd(y, dy, {unit.leaves[0]}));
}

TEST_P(ModuleGradient, Head) {
  const double inverse = 1.0 / 37;  // of the global batch: not this micro-batch's own count
  const at::Tensor inverse_valid_tokens = at::full({}, inverse, at::kDouble);
  at::Tensor labels = at::randint(kVocab, {kTokens}, at::kInt);
  labels[2] = labels[7] = labels[kTokens - 1] = -100;
  for (int64_t chunk_rows : {Head::kChunkRows, kTokens, int64_t{5}, int64_t{1}}) {
    SCOPED_TRACE(chunk_rows);
    const DecoderConfig config = decoder_config();
    UnitUnderTest unit(Head::declare(config).parameters, accumulate());
    const at::Tensor loss = plain_head(x, unit.leaves[0], unit.leaves[1], labels, inverse);
    const auto expected =
        autograd(loss, at::ones({}, at::kDouble), {x, unit.leaves[0], unit.leaves[1]});

    const Head head(config, chunk_rows);
    const Weights& weights = unit.weights;
    const auto result = head.forward_backward(context, weights, unit.written, x.detach(), labels,
                                              inverse_valid_tokens);
    expect_close(result.loss, loss.detach(), "loss");
    expect_close(head.forward(context, weights, x.detach(), labels, inverse_valid_tokens),
                 loss.detach(), "loss of validation");
    expect_close(result.dx, expected[0], "dx");
    unit.expect_written({expected[1], expected[2]});
  }
}

}  // namespace
}  // namespace titan
