// What the tests of lib/train share: a small model on the CPU with everything around it, and random
// batches for it.
#pragma once

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lib/model/registry.hpp"
#include "lib/train/step.hpp"

namespace titan {

constexpr int64_t kVocab = 97;

constexpr auto kNothing = Recompute::kNothing;
constexpr auto kGateUp = Recompute::kGateUp;
constexpr auto kBlock = Recompute::kBlock;

// The debug model cut down, with one recompute policy for each layer.
inline DecoderConfig small_model(std::vector<Recompute> recompute) {
  DecoderConfig model = registry(
      "llama3", "debugmodel",
      {.n_layers = static_cast<int64_t>(recompute.size()), .vocab_size = kVocab, .seq_len = 64});
  for (size_t i = 0; i < recompute.size(); ++i) model.layers[i].recompute = recompute[i];
  return model;
}

inline SharderConfig in_fp32(int64_t micro_batches = 1) {
  return {
      .parameter_dtype = at::kFloat, .compute_dtype = at::kFloat, .micro_batches = micro_batches};
}

inline SharderConfig in_bf16(int64_t micro_batches = 1) {
  return {.parameter_dtype = at::kFloat,
          .compute_dtype = at::kBFloat16,
          .micro_batches = micro_batches};
}

inline SharderConfig with_bf16_moments(SharderConfig sharding) {
  sharding.bfloat16_moments = true;
  return sharding;
}

struct SmallModel {
  explicit SmallModel(const DecoderConfig& model, const SharderConfig& sharding = in_fp32(),
                      ops::Device where = ops::Device::cpu())
      : device(std::move(where)),
        config(model),
        decoder(build(config)),
        sharder(declare_units(config), sharding, device),
        step(decoder, config, sharder, device) {
    sharder.initialise(/*seed=*/5);
  }
  SmallModel(const SmallModel&) = delete;

  ops::Device device;
  DecoderConfig config;
  Decoder decoder;
  Sharder sharder;
  Step step;
};

inline MicroBatch random_batch(int64_t batch, int64_t seq_len, uint64_t seed = 1) {
  at::manual_seed(seed);
  return {at::randint(kVocab, {batch * seq_len}, at::kInt),
          at::randint(kVocab, {batch * seq_len}, at::kInt), batch, seq_len};
}

inline at::Tensor scalar(double value) { return at::full({}, value, at::kFloat); }

inline std::vector<at::Tensor> gradients_of(Sharder& sharder) {
  std::vector<at::Tensor> gradients;
  for (const Parameter* parameter : sharder.parameters()) gradients.push_back(parameter->gradient);
  return gradients;
}

// The message of the exception that the action throws.
template <class Exception, class Action>
std::string message_of(Action action) {
  try {
    action();
  } catch (const Exception& error) {
    return error.what();
  }
  ADD_FAILURE() << "nothing was thrown";
  return "";
}

}  // namespace titan
