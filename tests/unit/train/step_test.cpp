// The walk over the units: what must not depend on how a step is cut up or on what is recomputed.
#include "lib/train/step.hpp"

#include "lib/base/error.hpp"
#include "lib/model/converter.hpp"
#include "lib/optim/optimizer.hpp"
#include "tests/unit/train/train_testing.hpp"

namespace titan {
namespace {

constexpr Recompute kEvery[] = {Recompute::kNothing, Recompute::kGateUp, Recompute::kBlock};
constexpr int64_t kSeqLen = 24;

MicroBatch rows(const MicroBatch& all, int64_t first, int64_t count) {
  const int64_t begin = first * all.seq_len, size = count * all.seq_len;
  return {all.tokens.narrow(0, begin, size), all.labels.narrow(0, begin, size), count, all.seq_len};
}

void expect_close(const at::Tensor& actual, const at::Tensor& expected, const std::string& name) {
  EXPECT_LT(((actual - expected).norm() / expected.norm()).item<double>(), 2e-6) << name;
}

TEST(Step, TwoMicroBatchesOfTwoEqualOneOfFour) {
  MicroBatch all = random_batch(4, kSeqLen);
  all.labels.narrow(0, 5, 9).fill_(-100);  // an uneven number of valid labels
  const at::Tensor inverse = scalar(1.0 / (4 * kSeqLen - 9));

  SmallModel whole(small_model({Recompute::kNothing, Recompute::kGateUp}));
  const at::Tensor loss = whole.step.forward_backward(all, inverse);
  SmallModel parts(small_model({Recompute::kNothing, Recompute::kGateUp}), in_fp32(2));
  const at::Tensor sum = parts.step.forward_backward(rows(all, 0, 2), inverse) +
                         parts.step.forward_backward(rows(all, 2, 2), inverse);

  expect_close(sum, loss, "loss");
  const auto whole_parameters = whole.sharder.parameters();
  const auto part_parameters = parts.sharder.parameters();
  for (size_t i = 0; i < whole_parameters.size(); ++i) {
    expect_close(part_parameters[i]->gradient, whole_parameters[i]->gradient,
                 whole_parameters[i]->members.front().name);
  }
}

// The loss and gradients of a step of one or more micro-batches.
std::vector<at::Tensor> outcome(const DecoderConfig& config, const SharderConfig& sharding) {
  SmallModel model(config, sharding);
  std::vector<at::Tensor> tensors;
  for (int64_t i = 0; i < sharding.micro_batches; ++i) {
    const MicroBatch batch = random_batch(2, kSeqLen, static_cast<uint64_t>(i));
    tensors.push_back(model.step.forward_backward(batch, scalar(0.01)));
  }
  for (const at::Tensor& gradient : gradients_of(model.sharder)) tensors.push_back(gradient);
  return tensors;
}

void expect_recomputing_changes_nothing(const SharderConfig& sharding, const Converter* converter) {
  std::vector<at::Tensor> first;
  for (Recompute recompute : kEvery) {
    DecoderConfig config = small_model({recompute, recompute});
    if (converter != nullptr) converter->convert(config);
    const std::vector<at::Tensor> tensors = outcome(config, sharding);
    if (first.empty()) first = tensors;
    for (size_t i = 0; i < tensors.size(); ++i) {
      EXPECT_TRUE(at::equal(tensors[i], first[i]))
          << static_cast<int>(recompute) << ", tensor " << i;
    }
  }
}

TEST(Step, RecomputingChangesNotOneBit) {
  expect_recomputing_changes_nothing(in_fp32(), nullptr);
  expect_recomputing_changes_nothing(in_bf16(), nullptr);
  expect_recomputing_changes_nothing(in_bf16(2), nullptr);
  for (Float8Recipe recipe : {Float8Recipe::kRowwise, Float8Recipe::kRowwiseWithGwHp}) {
    const auto converter = float8_linear_converter(
        {.recipe = recipe, .filter_fqns = {"wk"}, .emulate = true, .tokens = 2 * kSeqLen});
    expect_recomputing_changes_nothing(in_bf16(), converter.get());
  }
}

TEST(Step, EvaluationIsTheLossOfTraining) {
  const MicroBatch batch = random_batch(3, kSeqLen);
  SmallModel model(small_model({Recompute::kNothing, Recompute::kBlock}));
  const at::Tensor evaluated = model.step.evaluate(batch, scalar(0.01));
  for (const at::Tensor& gradient : gradients_of(model.sharder)) EXPECT_FALSE(gradient.defined());
  EXPECT_TRUE(at::equal(evaluated, model.step.forward_backward(batch, scalar(0.01))));
  for (const at::Tensor& gradient : gradients_of(model.sharder)) EXPECT_TRUE(gradient.defined());
  model.sharder.release_gradients();
  for (const at::Tensor& gradient : gradients_of(model.sharder)) EXPECT_FALSE(gradient.defined());
}

TEST(Step, ShorterAndLongerSequencesShareAModel) {
  SmallModel model(small_model({Recompute::kNothing}));
  const MicroBatch longer = random_batch(1, 2 * kSeqLen);
  const at::Tensor expected = model.step.logits(longer).narrow(0, 0, kSeqLen);
  const MicroBatch shorter{longer.tokens.narrow(0, 0, kSeqLen), longer.labels.narrow(0, 0, kSeqLen),
                           1, kSeqLen};
  EXPECT_TRUE(at::allclose(model.step.logits(shorter), expected, 1e-4, 1e-5));
  SmallModel fresh(small_model({Recompute::kNothing}));  // its rotary table starts short
  EXPECT_TRUE(at::equal(fresh.step.logits(shorter), model.step.logits(shorter)));
  EXPECT_TRUE(at::equal(fresh.step.logits(longer), model.step.logits(longer)));
}

TEST(Step, ASequenceSeesOnlyItselfAndItsPast) {
  SmallModel model(small_model({Recompute::kNothing, Recompute::kNothing}));
  const MicroBatch batch = random_batch(2, kSeqLen);
  MicroBatch changed = batch;
  changed.tokens = batch.tokens.clone();
  changed.tokens[10] = (batch.tokens[10].item<int>() + 1) % kVocab;  // of the first sequence
  const at::Tensor differs =
      model.step.logits(batch).ne(model.step.logits(changed)).any(1).to(at::kInt);
  at::Tensor expected = at::zeros({2 * kSeqLen}, at::kInt);
  expected.narrow(0, 10, kSeqLen - 10).fill_(1);
  EXPECT_TRUE(at::equal(differs, expected));
}

TEST(Step, RefusesABatchOfAnotherSize) {
  SmallModel model(small_model({Recompute::kNothing}));
  MicroBatch batch = random_batch(2, kSeqLen);
  batch.batch = 3;
  EXPECT_THAT(message_of<Error>([&] { model.step.forward_backward(batch, scalar(1)); }),
              testing::HasSubstr("3 x 24 has 48 tokens"));
}

// ---- With the optimizer ----

std::vector<at::Tensor> state_of(Sharder& sharder) {
  std::vector<at::Tensor> state;
  for (const Parameter* p : sharder.parameters()) {
    for (const at::Tensor& tensor : {p->master, p->exp_avg, p->exp_avg_sq, p->compute}) {
      state.push_back(tensor.clone());
    }
  }
  return state;
}

bool all_equal(const std::vector<at::Tensor>& a, const std::vector<at::Tensor>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](const at::Tensor& x, const at::Tensor& y) { return at::equal(x, y); });
}

TEST(Step, ANonFiniteStepChangesNothing) {
  const MicroBatch batch = random_batch(2, kSeqLen);
  SmallModel model(small_model({Recompute::kNothing}), in_bf16());
  Optimizer optimizer({}, model.sharder, model.device);
  const auto before = state_of(model.sharder);

  const at::Tensor loss = model.step.forward_backward(batch, scalar(0.01));
  optimizer.step(1e-3, loss * NAN);
  EXPECT_EQ(optimizer.skipped().item<int>(), 1);
  model.sharder.parameters()[3]->gradient.view({-1})[7] = INFINITY;
  optimizer.step(1e-3, loss);
  EXPECT_EQ(optimizer.skipped().item<int>(), 1);
  EXPECT_TRUE(all_equal(state_of(model.sharder), before));
  EXPECT_EQ(optimizer.updates_sync(), 0);

  model.sharder.release_gradients();
  model.step.forward_backward(batch, scalar(0.01));
  optimizer.step(1e-3, loss);
  EXPECT_EQ(optimizer.skipped().item<int>(), 0);
  EXPECT_FALSE(all_equal(state_of(model.sharder), before));
  EXPECT_EQ(optimizer.updates_sync(), 1);
  for (const Parameter* parameter : model.sharder.parameters()) {
    EXPECT_TRUE(at::equal(parameter->compute, parameter->master.to(at::kBFloat16)));
  }
}

// training.dtype = "bfloat16" with mixed_precision_param = "float32".
TEST(Step, MastersInBfloat16ComputeInFloat32) {
  const SharderConfig sharding{.parameter_dtype = at::kBFloat16, .compute_dtype = at::kFloat};
  SmallModel model(small_model({Recompute::kNothing}), sharding);
  Optimizer optimizer({}, model.sharder, model.device);
  const auto before = state_of(model.sharder);
  const MicroBatch batch = random_batch(2, kSeqLen);
  for (int step = 0; step < 2; ++step) {
    optimizer.step(1e-2, model.step.forward_backward(batch, scalar(0.01)));
    model.sharder.release_gradients();
  }
  EXPECT_EQ(optimizer.updates_sync(), 2);
  EXPECT_FALSE(all_equal(state_of(model.sharder), before));
  for (const Parameter* parameter : model.sharder.parameters()) {
    EXPECT_EQ(parameter->master.scalar_type(), at::kBFloat16);
    EXPECT_TRUE(at::equal(parameter->compute, parameter->master.to(at::kFloat)));
  }
}

// Two updates of one model with moments in bf16, rounded by this seed.
std::vector<at::Tensor> updated_by(uint64_t seed) {
  SmallModel model(small_model({Recompute::kNothing}), with_bf16_moments(in_bf16()));
  Optimizer optimizer({}, model.sharder, model.device);
  optimizer.set_seed(seed);
  for (uint64_t step = 0; step < 2; ++step) {
    const at::Tensor loss =
        model.step.forward_backward(random_batch(2, kSeqLen, step), scalar(0.01));
    optimizer.step(1e-3, loss);
    model.sharder.release_gradients();
  }
  return state_of(model.sharder);
}

TEST(Step, Bfloat16MomentsAreRoundedByTheSeed) {
  const std::vector<at::Tensor> one = updated_by(1), again = updated_by(1), other = updated_by(2);
  EXPECT_TRUE(all_equal(one, again));
  EXPECT_FALSE(all_equal(one, other));
  for (size_t i = 0; i < one.size(); i += 4) {  // master, exp_avg, exp_avg_sq, copy
    EXPECT_EQ(one[i].scalar_type(), at::kFloat);
    EXPECT_EQ(one[i + 1].scalar_type(), at::kBFloat16);
    EXPECT_EQ(one[i + 2].scalar_type(), at::kBFloat16);
  }
}

// Equal members of one parameter are rounded by their own names.
TEST(Step, Bfloat16MomentsOfMembersAreRoundedApart) {
  SmallModel model(small_model({Recompute::kNothing}), with_bf16_moments(in_fp32()));
  Optimizer optimizer({}, model.sharder, model.device);
  const at::Tensor loss = model.step.forward_backward(random_batch(2, kSeqLen), scalar(0.01));
  for (Parameter* parameter : model.sharder.parameters()) parameter->gradient.fill_(1e-3);
  optimizer.step(1e-3, loss);
  const auto parameters = model.sharder.parameters();
  const auto gate_up = std::find_if(parameters.begin(), parameters.end(), [](const Parameter* p) {
    return p->members.front().name == "layers.0.feed_forward.w1.weight";
  });
  ASSERT_NE(gate_up, parameters.end());
  const at::Tensor w1 = (*gate_up)->member_rows((*gate_up)->exp_avg, 0);
  const at::Tensor w3 = (*gate_up)->member_rows((*gate_up)->exp_avg, 1);
  EXPECT_GT(w1.ne(w3).sum().item<int64_t>(), w1.numel() / 8);
}

TEST(Step, ReportsTheNormBeforeClippingAndUpdatesByTheClippedGradient) {
  const MicroBatch batch = random_batch(2, kSeqLen);
  at::Tensor moments[2];
  double norms[2];
  for (int i = 0; i < 2; ++i) {
    SmallModel model(small_model({Recompute::kNothing}));
    Optimizer optimizer({.max_norm = i == 0 ? 1e9 : 0.25}, model.sharder, model.device);
    const at::Tensor loss = model.step.forward_backward(batch, scalar(0.1));
    at::Tensor square_sum = at::zeros({}, at::kDouble);
    for (const at::Tensor& g : gradients_of(model.sharder))
      square_sum += g.to(at::kDouble).pow(2).sum();
    optimizer.step(1e-3, loss);
    norms[i] = optimizer.grad_norm().item<double>();
    EXPECT_NEAR(norms[i], square_sum.sqrt().item<double>(), 1e-5 * norms[i]);
    moments[i] = model.sharder.parameters()[1]->exp_avg;
  }
  ASSERT_GT(norms[0], 0.5);
  EXPECT_EQ(norms[0], norms[1]);
  EXPECT_TRUE(at::allclose(moments[1], moments[0] * (0.25 / norms[0]), 1e-4, 1e-12));
}

}  // namespace
}  // namespace titan
