// The float8 copies of weights that an optimizer step leaves.
#include "lib/model/converter.hpp"
#include "lib/optim/optimizer.hpp"
#include "tests/unit/train/train_testing.hpp"

namespace titan {
namespace {

constexpr int64_t kSeqLen = 24;

bool all_equal(const std::vector<at::Tensor>& a, const std::vector<at::Tensor>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](const at::Tensor& x, const at::Tensor& y) { return at::equal(x, y); });
}

// Copies made from the optimizer's roundings in the gradients' memory, and from the masters.
TEST(Float8Weights, CopiesAreOfTheNewWeights) {
  const MicroBatch batch = random_batch(2, kSeqLen);
  for (int64_t micro_batches : {1, 2}) {
    DecoderConfig config = small_model({Recompute::kNothing});
    float8_linear_converter({.filter_fqns = {"wk"}, .emulate = true, .tokens = 2 * kSeqLen})
        ->convert(config);
    SmallModel model(config, in_bf16(micro_batches));
    Optimizer optimizer({}, model.sharder, model.device);
    const auto copies = [&] {
      std::vector<at::Tensor> tensors;
      for (size_t unit = 0; unit < model.sharder.units().size(); ++unit) {
        for (const Weight& weight : model.sharder.weights(unit)) {
          for (const WeightRun& run : weight.runs) {
            if (!run.recipe) continue;
            for (const Float8Tensor& copy : {run.row, run.column}) {
              tensors.push_back(copy.values.view(at::kByte));
              tensors.push_back(copy.inverse_scales);
            }
          }
        }
      }
      return tensors;
    };
    const auto initial = copies();
    EXPECT_EQ(initial.size(), 5 * 4u);  // wq, wv, wo, w1 and w3, w2
    for (const double factor : {1.0, double{NAN}}) {
      const at::Tensor loss = model.step.forward_backward(batch, scalar(0.01));
      optimizer.step(1e-2, loss * factor);
      model.sharder.release_gradients();
      const auto updated = copies();
      EXPECT_FALSE(all_equal(updated, initial));
      model.sharder.refresh_compute();
      EXPECT_TRUE(all_equal(updated, copies()));
    }
  }
}

}  // namespace
}  // namespace titan
