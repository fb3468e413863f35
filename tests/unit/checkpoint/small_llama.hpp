// A Llama model of a few thousand weights, and its export.
#pragma once

#include "lib/checkpoint/hugging_face.hpp"
#include "tests/unit/checkpoint/test_tensors.hpp"

namespace titan::test {

inline ModelDescription small_model() {
  return {.flavor = "debugmodel",
          .dim = 32,
          .n_layers = 2,
          .n_heads = 4,
          .n_kv_heads = 2,
          .ffn_hidden = 48,
          .vocab_size = 50,
          .rope_scaling = RopeScaling{},
          .bos_token_id = 48,
          .eos_token_id = 49};
}

inline TestModel make_llama(const ModelDescription& description, uint64_t seed) {
  TestModel model;
  for (const LlamaTensor& tensor : llama_tensors(description)) {
    model.infos[tensor.name] = {Dtype::kFloat32, tensor.shape};
    model.values[tensor.name] = float_values(seed, tensor.name, volume(tensor.shape));
  }
  return model;
}

inline void export_model(const TestModel& model, const std::filesystem::path& directory,
                         const HuggingFaceOptions& options = {}) {
  std::filesystem::create_directories(directory);
  std::vector<TensorSlice> slices = model.slices();
  export_hugging_face(quick_files(), MemorySource(slices), small_model(), directory, options);
}

}  // namespace titan::test
