// For test_float8_linear.py: the products of a linear group, or a block's feed-forward, on given
// tensors.
//   linear_probe group IN OUT NAME=RECIPE ...
//     IN: weights NAME [N,K] of the members, x [M,K], dy [M, sum of N]; OUT: y, dx, NAME.grad
//   linear_probe feed_forward IN OUT RECIPE
//     IN: w1, w3 [768,256], w2 [256,768], x, dy [M,256]; OUT: out, dx, w1.grad, w2.grad, w3.grad:
//     out = x + w2 · (silu(w1 · n) * (w3 · n)) with n = x / rms(x), a block without its attention
// RECIPE: none, rowwise, rowwise_with_gw_hp. Tensors in F32 hold bf16 values; computed in bf16, on
// the CUDA device when there is one. The weights' gradients are in bf16 or fp32, as the job's.
#include <ATen/ATen.h>

#include <cstdio>
#include <string>

#include "lib/model/converter.hpp"
#include "lib/model/declare.hpp"
#include "lib/model/linear.hpp"
#include "lib/model/registry.hpp"
#include "lib/model/transformer_block.hpp"
#include "tests/oracle/tensor_files.hpp"

namespace titan {
namespace {

using Tensors = std::map<std::string, at::Tensor>;

constexpr const char* kSuffix = ".weight";

std::optional<Float8Recipe> recipe_of(const std::string& word) {
  if (word == "none") return std::nullopt;
  if (word == "rowwise") return Float8Recipe::kRowwise;
  if (word == "rowwise_with_gw_hp") return Float8Recipe::kRowwiseWithGwHp;
  throw Error("unknown recipe " + word);
}

std::string last_part(const std::string& name) {  // "layers.0.feed_forward.w1.weight" -> "w1"
  const std::string path = name.substr(0, name.size() - std::string(kSuffix).size());
  return path.substr(path.rfind('.') + 1);
}

// One unit and its storage.
struct Storage {
  Storage(Unit unit, const SafetensorsReader& input, const ops::Device& device)
      : sharder({std::move(unit)}, {}, device) {
    for (Parameter* parameter : sharder.parameters()) {
      for (size_t i = 0; i < parameter->members.size(); ++i) {
        const std::string name = last_part(parameter->members[i].name);
        at::Tensor rows = parameter->member_rows(parameter->master, i);
        if (input.find(name) != nullptr) {
          rows.copy_(read_tensor(input, name));
        } else {
          rows.fill_(rows.dim() == 1 ? 1 : 0);  // norms of one, no attention
        }
      }
    }
    sharder.refresh_compute();
  }

  void add_gradients(Tensors& out) {
    for (Parameter* parameter : sharder.parameters()) {
      for (size_t i = 0; i < parameter->members.size(); ++i) {
        out[last_part(parameter->members[i].name) + ".grad"] =
            parameter->member_rows(parameter->gradient, i);
      }
    }
  }

  Sharder sharder;
};

Tensors run_group(const SafetensorsReader& input, const at::Tensor& x, const at::Tensor& dy,
                  const std::vector<std::string>& members, const ops::Device& device) {
  LinearGroup group;
  for (const std::string& member : members) {
    const size_t equals = member.find('=');
    const std::string name = member.substr(0, equals);
    const at::Tensor weight = read_tensor(input, name);
    group.members.push_back({.name = name,
                             .in_features = weight.size(1),
                             .out_features = weight.size(0),
                             .initializer = {},
                             .float8 = recipe_of(member.substr(equals + 1))});
  }
  Storage storage({"layers.0", {declare_linears(group, "layers.0.")}}, input, device);
  const Weight& weight = storage.sharder.weights(0)[0];
  const Gradients gradients = storage.sharder.gradients(0);
  const StepContext context{device};

  const LinearInput linear = linear_input(weight, x);
  Tensors out{{"y", linear_forward(context, weight, linear)}};
  const LinearGradient gradient = linear_gradient(weight, dy);
  out["dx"] = linear_backward_input(context, weight, gradient);
  linear_backward_weight(context, weight, gradient, wgrad_input(weight, x, linear.copy.column_amax),
                         gradients[0], gradients.accumulate);
  storage.add_gradients(out);
  return out;
}

Tensors run_feed_forward(const SafetensorsReader& input, const at::Tensor& x, const at::Tensor& dy,
                         const std::string& recipe, const ops::Device& device) {
  DecoderConfig model = registry("llama3", "debugmodel", {.n_layers = 1});
  BlockConfig& config = model.layers.front();
  for (LinearGroup* group : {&config.feed_forward.gate_up, &config.feed_forward.down}) {
    for (LinearConfig& linear : group->members) linear.float8 = recipe_of(recipe);
  }
  Storage storage(TransformerBlock::declare(config, "layers.0"), input, device);
  const AttentionConfig& attention = config.attention;
  const StepContext context{
      device, 1, x.size(0),
      ops::rope_table(x.size(0), attention.head_dim, attention.rope, device.torch())};

  const TransformerBlock block(config);
  const Weights& weights = storage.sharder.weights(0);
  std::unique_ptr<Block::Saved> saved;
  Tensors out{{"out", block.forward(context, weights, x, &saved)}};
  out["dx"] =
      block.backward(context, weights, storage.sharder.gradients(0), {dy, dy}, std::move(saved))
          .own;
  storage.add_gradients(out);
  return out;
}

void run(int argc, char** argv) {
  TITAN_CHECK(argc > 4, "expected group or feed_forward, IN, OUT and recipes");
  const ops::Device device = ops::Device::preferred();
  const SafetensorsReader input(argv[2]);
  auto matrix = [&](const char* name) {
    return read_tensor(input, name).to(device.options(at::kBFloat16));
  };
  const at::Tensor x = matrix("x"), dy = matrix("dy");
  write_tensors(argv[3], std::string(argv[1]) == "group"
                             ? run_group(input, x, dy, {argv + 4, argv + argc}, device)
                             : run_feed_forward(input, x, dy, argv[4], device));
}

}  // namespace
}  // namespace titan

int main(int argc, char** argv) {
  try {
    titan::run(argc, argv);
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "linear_probe: %s\n", error.what());
    return 1;
  }
}
