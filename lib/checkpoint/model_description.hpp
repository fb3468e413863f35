// What the outside of this program needs to know of a model: kept as the "model" object of a
// checkpoint's manifest, from which titan-convert writes config.json. The trainer puts
// ModelDescription::to_json() into Snapshot::model_description. Keys of the JSON are the names of
// the fields; optional ones may be absent.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

namespace titan {

// Llama 3.1's stretching of the rotary frequencies.
struct RopeScaling {
  double factor = 8;
  double low_freq_factor = 1;
  double high_freq_factor = 4;
  int64_t original_max_position_embeddings = 8192;
  bool operator==(const RopeScaling&) const = default;
};

struct ModelDescription {
  std::string name = "llama3";  // the model family; the only one that converts so far
  std::string flavor;           // "8B"
  int64_t dim = 0;
  int64_t n_layers = 0;
  int64_t n_heads = 0;  // head size is dim / n_heads
  int64_t n_kv_heads = 0;
  int64_t ffn_hidden = 0;
  int64_t vocab_size = 0;
  int64_t max_seq_len = 131072;
  double norm_eps = 1e-5;
  double rope_theta = 500000;
  std::optional<RopeScaling> rope_scaling;  // none: plain RoPE
  std::optional<int64_t> bos_token_id;      // of the tokenizer it was trained with
  std::optional<int64_t> eos_token_id;

  bool operator==(const ModelDescription&) const = default;

  nlohmann::ordered_json to_json() const;
  // Throws InputError that names the key.
  static ModelDescription from_json(const nlohmann::ordered_json& json);

  // Hugging Face's config.json of a LlamaForCausalLM, and back (the old and the new spelling of the
  // rotary parameters). `dtype` is a word of export_dtype. Throws InputError for what this program
  // does not train.
  nlohmann::ordered_json to_hugging_face(const std::string& dtype) const;
  static ModelDescription from_hugging_face(const nlohmann::ordered_json& json,
                                            const std::string& path_for_message);
};

}  // namespace titan
