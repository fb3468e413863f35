// Runs the training step on given weights and tokens and writes what came out, for the oracle
// tests:
//   step_probe IN.safetensors OUT.safetensors key=value ...
// IN holds the weights by name (F32) and `tokens`, `labels` [micro_batches, batch * seq_len] (I32).
// OUT gets `loss`, `logits` of the first micro-batch, and `<name>.grad` for every weight, in F32.
// Keys: n_layers, kv_heads, vocab_size, batch, seq_len, mode (none, full, selective), option,
// dtype (float32, bfloat16), float8 (none, rowwise, rowwise_with_gw_hp; emulated, in all linears),
// tp, async (0 or 1: async tensor parallel). One rank runs on the CUDA device when there is one,
// more are threads on the CPU.
#include <ATen/ATen.h>

#include <cstdio>
#include <map>
#include <mutex>
#include <string>

#include "lib/base/error.hpp"
#include "lib/train/from_job.hpp"
#include "lib/train/step.hpp"
#include "tests/oracle/tensor_files.hpp"
#include "tests/unit/parallel/rank_threads.hpp"

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

using Options = std::map<std::string, std::string>;
using Tensors = std::map<std::string, at::Tensor>;

int64_t number(const Options& options, const char* key) { return std::stoll(options.at(key)); }

JobConfig job_of(const Options& options, int64_t micro_batches) {
  JobConfig job;
  job.model.n_layers = number(options, "n_layers");
  job.model.vocab_size = number(options, "vocab_size");
  job.training.local_batch_size = number(options, "batch");
  job.training.global_batch_size = job.training.local_batch_size * micro_batches;
  job.training.seq_len = number(options, "seq_len");
  job.training.mixed_precision_param =
      options.at("dtype") == "bfloat16" ? config::Dtype::kBfloat16 : config::Dtype::kFloat32;
  job.activation_checkpoint.mode =
      options.at("mode") == "none"   ? config::ActivationCheckpointMode::kNone
      : options.at("mode") == "full" ? config::ActivationCheckpointMode::kFull
                                     : config::ActivationCheckpointMode::kSelective;
  job.activation_checkpoint.selective_ac_option = options.at("option");
  if (options.at("float8") == "none") return job;
  job.model.converters = {"quantize.linear.float8"};
  job.quantize.linear.float8.emulate = true;
  job.quantize.linear.float8.recipe_name = options.at("float8") == "rowwise"
                                               ? config::Float8Recipe::kRowwise
                                               : config::Float8Recipe::kRowwiseWithGwHp;
  return job;
}

// The piece's place in the named tensor.
at::Tensor place_of(const ShardPiece& piece, at::Tensor named) {
  for (size_t i = 0; i < piece.shape.size(); ++i) {
    named = named.narrow(static_cast<int64_t>(i), piece.offset[i], piece.shape[i]);
  }
  return named;
}

void read_weights(const SafetensorsReader& input, Sharder& sharder) {
  for (Parameter* parameter : sharder.parameters()) {
    for (const ShardPiece& piece : parameter->pieces()) {
      const std::string& name = parameter->members[piece.member].name;
      piece.of(parameter->master).copy_(place_of(piece, read_tensor(input, name)));
    }
  }
  sharder.refresh_compute();
}

void collect_gradients(Sharder& sharder, Tensors& out) {
  for (Parameter* parameter : sharder.parameters()) {
    for (const ShardPiece& piece : parameter->pieces()) {
      const ParameterMember& member = parameter->members[piece.member];
      at::Tensor& whole = out[member.name + ".grad"];
      if (!whole.defined()) whole = at::zeros(member.global_shape, at::kFloat);
      place_of(piece, whole).copy_(piece.of(parameter->gradient));
    }
  }
}

// What one rank does; `out` is of all ranks, which take turns with it.
void run_rank(World& world, const Options& options, const SafetensorsReader& input,
              std::mutex& turn, Tensors& out) {
  const at::Tensor tokens = read_tensor(input, "tokens"), labels = read_tensor(input, "labels");
  const JobConfig job = job_of(options, tokens.size(0));
  const Mesh mesh = make_mesh({.tp = world.size()}, world);
  DecoderConfig model = decoder_config(job, mesh.shape);
  set_kv_heads(model, number(options, "kv_heads"));
  ops::Device device = world.size() == 1 ? ops::Device::preferred() : ops::Device::cpu();
  Sharder sharder(declare_units(model, {mesh.tp.rank(), mesh.tp.size()}),
                  sharder_config(job, mesh.shape), device, mesh);
  read_weights(input, sharder);

  Decoder decoder = build(model);
  Step step(decoder, model, sharder, device);
  if (number(options, "async") == 1) {
    const std::string why_not = step.use_async_tensor_parallel({tokens.size(1)});
    TITAN_CHECK(why_not.empty(), why_not);
  }
  const double valid = labels.ne(-100).sum().item<double>();
  at::Tensor inverse_valid = at::full({}, 1 / valid, device.options(at::kFloat));
  at::Tensor loss = at::zeros({}, device.options(at::kFloat)), logits;
  for (int64_t i = 0; i < tokens.size(0); ++i) {
    MicroBatch micro_batch{tokens[i].to(device.torch()), labels[i].to(device.torch()),
                           job.training.local_batch_size, job.training.seq_len};
    if (i == 0) logits = step.logits(micro_batch);
    at::Tensor evaluated = step.evaluate(micro_batch, inverse_valid);
    at::Tensor trained = step.forward_backward(micro_batch, inverse_valid,
                                               /*last_micro_batch=*/i + 1 == tokens.size(0));
    TITAN_CHECK(at::allclose(evaluated, trained, 1e-5),
                "validation and training losses differ: ", evaluated.item<double>(), " and ",
                trained.item<double>());
    loss += trained;
  }
  const std::lock_guard lock(turn);
  out["loss"] = loss.reshape({1});
  at::Tensor& all_logits = out["logits"];  // of which a rank has its vocabulary entries
  if (!all_logits.defined()) {
    all_logits = at::zeros({logits.size(0), logits.size(1) * world.size()}, at::kFloat);
  }
  all_logits.narrow(1, mesh.tp.rank() * logits.size(1), logits.size(1)).copy_(logits);
  collect_gradients(sharder, out);
}

void run(int argc, char** argv) {
  Options options;
  for (int i = 3; i < argc; ++i) {
    const std::string argument = argv[i];
    const size_t equals = argument.find('=');
    options[argument.substr(0, equals)] = argument.substr(equals + 1);
  }
  const SafetensorsReader input(argv[1]);
  std::mutex turn;
  Tensors out;
  testing::on_every_rank(number(options, "tp"),
                         [&](World& world) { run_rank(world, options, input, turn, out); });
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
