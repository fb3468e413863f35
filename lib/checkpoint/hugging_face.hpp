// Llama weights in Hugging Face's layout: their names, their order of rows in wq and wk, and
// directories of model-*.safetensors with config.json. Tensors stream through in pieces: host
// memory stays bounded.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lib/checkpoint/file_system.hpp"
#include "lib/checkpoint/model_description.hpp"
#include "lib/checkpoint/safetensors.hpp"
#include "lib/checkpoint/tensor_source.hpp"

namespace titan {

// A parameter of the model under both names.
struct LlamaTensor {
  std::string name;          // "layers.0.attention.wq.weight"
  std::string hugging_face;  // "model.layers.0.self_attn.q_proj.weight"
  Shape shape;
  int64_t head_rows =
      0;  // rows of a head where RoPE orders them (wq, wk); else 0: the same in both
};

// All of them, in the model's order.
std::vector<LlamaTensor> llama_tensors(const ModelDescription& model);

// Within a head of d rows ours has rotation pairs side by side, Hugging Face in halves: its row
// j*d/2 + i is our row 2*i + j (j in {0, 1}, i < d/2). Returns the row of Hugging Face's tensor
// that is our row `row`.
int64_t hugging_face_row(int64_t row, int64_t head_rows);

struct HuggingFaceOptions {
  Dtype dtype = Dtype::kFloat32;
  std::filesystem::path tokenizer_folder = {};  // its tokenizer files are copied; empty: none
  uint64_t max_shard_bytes = 5'000'000'000;
  // Of the weights' files this call writes the first after `part` and every parts-th from there;
  // part 0 writes all other files too.
  size_t part = 0, parts = 1;
};

// Writes the model into an existing directory, fsynced. Returns the bytes of weights written.
// Throws InputError when the source's tensors are not those of the model, Error when writing fails.
uint64_t export_hugging_face(FileSystem& files, const TensorSource& source,
                             const ModelDescription& model, const std::filesystem::path& directory,
                             const HuggingFaceOptions& options);

// A directory as saved by transformers (one file, or several with an index), read under our names
// and in our row order. dtypes as stored. Throws InputError that lists what is missing, unexpected
// or of another shape.
class HuggingFaceReader : public TensorSource {
 public:
  // `model` gives heads and shapes; without it config.json does.
  explicit HuggingFaceReader(const std::filesystem::path& directory);
  HuggingFaceReader(const std::filesystem::path& directory, const ModelDescription& model);

  const ModelDescription& model() const { return model_; }
  // Whether the model has no output weights of its own: they are read from the embedding.
  bool output_is_embedding() const { return output_is_embedding_; }
  const TensorTable& tensors() const override { return tensors_; }
  void read(const std::string& name, const Box& block, std::span<std::byte> out) const override;

 private:
  struct Place {
    const SafetensorsReader* file;
    const SafetensorsEntry* entry;
    int64_t head_rows;
  };

  ModelDescription model_;
  bool output_is_embedding_ = false;
  std::vector<std::unique_ptr<SafetensorsReader>> files_;
  std::map<std::string, Place> places_;  // by our name
  TensorTable tensors_;
};

inline constexpr std::string_view kTiedWarning =
    "the output weights are tied to the embedding in this model: they start equal and train apart";

// Writes a Hugging Face model as a model-only checkpoint (step 0, float32) in our format at
// `target`, which must not exist. Throws InputError or Error.
void import_hugging_face(FileSystem& files, const std::filesystem::path& source,
                         const std::filesystem::path& target);

}  // namespace titan
