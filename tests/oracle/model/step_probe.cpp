// Runs the training step on given weights and tokens and writes what came out, for the oracle
// tests:
//   step_probe IN.safetensors OUT.safetensors key=value ...
// IN holds the weights by name (F32) and `tokens`, `labels` [micro_batches, batch * seq_len] (I32).
// OUT gets `loss`, `logits` of the first micro-batch, and `<name>.grad` for every weight, in F32.
// Keys: n_layers, kv_heads, vocab_size, batch, seq_len, mode (none, full, selective), option,
// dtype (float32, bfloat16). On the CUDA device when there is one.
#include <ATen/ATen.h>

#include <cstdio>
#include <map>
#include <string>

#include "lib/base/error.hpp"
#include "lib/train/from_job.hpp"
#include "lib/train/step.hpp"
#include "tests/oracle/tensor_files.hpp"

namespace titan {
namespace {

// A flavour whose grouped-query attention can be tried with any number of key/value heads.
void set_kv_heads(DecoderConfig& model, int64_t kv_heads) {
  for (BlockConfig& block : model.layers) {
    block.attention.kv_heads = kv_heads;
    for (size_t member : {1, 2}) {
      block.attention.qkv.members[member].out_features = kv_heads * block.attention.head_dim;
    }
  }
}

void run(int argc, char** argv) {
  std::map<std::string, std::string> options;
  for (int i = 3; i < argc; ++i) {
    std::string argument = argv[i];
    size_t equals = argument.find('=');
    options[argument.substr(0, equals)] = argument.substr(equals + 1);
  }
  auto number = [&](const char* key) { return std::stoll(options.at(key)); };

  JobConfig job;
  job.model.n_layers = number("n_layers");
  job.model.vocab_size = number("vocab_size");
  job.training.local_batch_size = number("batch");
  job.training.seq_len = number("seq_len");
  job.training.mixed_precision_param =
      options["dtype"] == "bfloat16" ? config::Dtype::kBfloat16 : config::Dtype::kFloat32;
  job.activation_checkpoint.mode =
      options["mode"] == "none"   ? config::ActivationCheckpointMode::kNone
      : options["mode"] == "full" ? config::ActivationCheckpointMode::kFull
                                  : config::ActivationCheckpointMode::kSelective;
  job.activation_checkpoint.selective_ac_option = options["option"];

  SafetensorsReader input(argv[1]);
  at::Tensor tokens = read_tensor(input, "tokens");
  at::Tensor labels = read_tensor(input, "labels");
  job.training.global_batch_size = job.training.local_batch_size * tokens.size(0);

  DecoderConfig model = decoder_config(job);
  set_kv_heads(model, number("kv_heads"));
  ops::Device device = ops::Device::preferred();
  Sharder sharder(declare_units(model), sharder_config(job), device);
  for (Parameter* parameter : sharder.parameters()) {
    for (size_t i = 0; i < parameter->members.size(); ++i) {
      parameter->member_rows(parameter->master, i)
          .copy_(read_tensor(input, parameter->members[i].name));
    }
  }
  sharder.refresh_compute();

  Decoder decoder = build(model);
  Step step(decoder, model, sharder, device);
  const double valid = labels.ne(-100).sum().item<double>();
  at::Tensor inverse_valid = at::full({}, 1 / valid, device.options(at::kFloat));
  at::Tensor loss = at::zeros({}, device.options(at::kFloat));
  std::map<std::string, at::Tensor> out;
  for (int64_t i = 0; i < tokens.size(0); ++i) {
    MicroBatch micro_batch{tokens[i].to(device.torch()), labels[i].to(device.torch()),
                           job.training.local_batch_size, job.training.seq_len};
    if (i == 0) out["logits"] = step.logits(micro_batch);
    at::Tensor evaluated = step.evaluate(micro_batch, inverse_valid);
    at::Tensor trained = step.forward_backward(micro_batch, inverse_valid);
    TITAN_CHECK(at::allclose(evaluated, trained, 1e-5),
                "validation and training losses differ: ", evaluated.item<double>(), " and ",
                trained.item<double>());
    loss += trained;
  }
  out["loss"] = loss.reshape({1});
  for (Parameter* parameter : sharder.parameters()) {
    for (size_t i = 0; i < parameter->members.size(); ++i) {
      out[parameter->members[i].name + ".grad"] = parameter->member_rows(parameter->gradient, i);
    }
  }
  write_tensors(argv[2], out);
}

}  // namespace
}  // namespace titan

int main(int argc, char** argv) {
  try {
    titan::run(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "step_probe: %s\n", error.what());
    return 1;
  }
  return 0;
}
