#include "lib/checkpoint/model_description.hpp"

#include "lib/base/error.hpp"
#include "lib/checkpoint/json_fields.hpp"

namespace titan {
namespace {

bool has(const Json& json, const char* key) { return json.contains(key) && !json[key].is_null(); }

RopeScaling read_scaling(const Json& json, const std::string& where) {
  return {.factor = json_double(json, "factor", where),
          .low_freq_factor = json_double(json, "low_freq_factor", where),
          .high_freq_factor = json_double(json, "high_freq_factor", where),
          .original_max_position_embeddings =
              json_int(json, "original_max_position_embeddings", where)};
}

Json scaling_json(const RopeScaling& scaling) {
  return {{"factor", scaling.factor},
          {"low_freq_factor", scaling.low_freq_factor},
          {"high_freq_factor", scaling.high_freq_factor},
          {"original_max_position_embeddings", scaling.original_max_position_embeddings}};
}

// bos_token_id and eos_token_id; Hugging Face also has lists, of which the first counts.
std::optional<int64_t> token_id(const Json& json, const char* key, const std::string& where) {
  if (!has(json, key)) return std::nullopt;
  if (json[key].is_array() && !json[key].empty())
    return json_int(Json{{key, json[key][0]}}, key, where);
  return json_int(json, key, where);
}

void check(const ModelDescription& model, const std::string& where) {
  for (auto [key, value] : {std::pair("dim", model.dim),
                            {"n_layers", model.n_layers},
                            {"n_heads", model.n_heads},
                            {"n_kv_heads", model.n_kv_heads},
                            {"ffn_hidden", model.ffn_hidden},
                            {"vocab_size", model.vocab_size}}) {
    if (value <= 0)
      throw InputError(concat(where, ": ", key, " = ", value, ", expected at least 1"));
  }
  if (model.dim % (2 * model.n_heads) != 0 || model.n_heads % model.n_kv_heads != 0) {
    throw InputError(concat(where, ": ", model.n_heads, " heads and ", model.n_kv_heads,
                            " key/value heads do not divide a width of ", model.dim));
  }
}

}  // namespace

Json ModelDescription::to_json() const {
  Json json = {{"name", name},
               {"flavor", flavor},
               {"dim", dim},
               {"n_layers", n_layers},
               {"n_heads", n_heads},
               {"n_kv_heads", n_kv_heads},
               {"ffn_hidden", ffn_hidden},
               {"vocab_size", vocab_size},
               {"max_seq_len", max_seq_len},
               {"norm_eps", norm_eps},
               {"rope_theta", rope_theta}};
  if (rope_scaling) json["rope_scaling"] = scaling_json(*rope_scaling);
  if (bos_token_id) json["bos_token_id"] = *bos_token_id;
  if (eos_token_id) json["eos_token_id"] = *eos_token_id;
  return json;
}

ModelDescription ModelDescription::from_json(const Json& json) {
  const std::string where = "the model description in the checkpoint's manifest";
  ModelDescription model{.name = json_string(json, "name", where),
                         .flavor = json_string(json, "flavor", where),
                         .dim = json_int(json, "dim", where),
                         .n_layers = json_int(json, "n_layers", where),
                         .n_heads = json_int(json, "n_heads", where),
                         .n_kv_heads = json_int(json, "n_kv_heads", where),
                         .ffn_hidden = json_int(json, "ffn_hidden", where),
                         .vocab_size = json_int(json, "vocab_size", where),
                         .max_seq_len = json_int(json, "max_seq_len", where),
                         .norm_eps = json_double(json, "norm_eps", where),
                         .rope_theta = json_double(json, "rope_theta", where),
                         .rope_scaling = {},
                         .bos_token_id = token_id(json, "bos_token_id", where),
                         .eos_token_id = token_id(json, "eos_token_id", where)};
  if (has(json, "rope_scaling")) model.rope_scaling = read_scaling(json["rope_scaling"], where);
  check(model, where);
  return model;
}

Json ModelDescription::to_hugging_face(const std::string& dtype) const {
  if (name != "llama3") {
    throw InputError(concat("models of the family \"", name,
                            "\" cannot be exported to Hugging Face's layout yet, only llama3"));
  }
  Json json = {{"architectures", {"LlamaForCausalLM"}},
               {"model_type", "llama"},
               {"vocab_size", vocab_size},
               {"hidden_size", dim},
               {"intermediate_size", ffn_hidden},
               {"num_hidden_layers", n_layers},
               {"num_attention_heads", n_heads},
               {"num_key_value_heads", n_kv_heads},
               {"head_dim", dim / n_heads},
               {"hidden_act", "silu"},
               {"max_position_embeddings", max_seq_len},
               {"rms_norm_eps", norm_eps},
               {"rope_theta", rope_theta},
               {"rope_scaling", nullptr},
               {"attention_bias", false},
               {"mlp_bias", false},
               {"attention_dropout", 0.0},
               {"tie_word_embeddings", false},
               {"initializer_range", 0.02},
               {"bos_token_id", nullptr},
               {"eos_token_id", nullptr},
               {"torch_dtype", dtype},
               {"use_cache", true}};
  if (rope_scaling) {
    json["rope_scaling"] = scaling_json(*rope_scaling);
    json["rope_scaling"]["rope_type"] = "llama3";
  }
  if (bos_token_id) json["bos_token_id"] = *bos_token_id;
  if (eos_token_id) json["eos_token_id"] = *eos_token_id;
  return json;
}

ModelDescription ModelDescription::from_hugging_face(const Json& json, const std::string& where) {
  if (std::string type = json_string(json, "model_type", where); type != "llama") {
    throw InputError(concat(where, ": model_type \"", type, "\" is not supported, only \"llama\""));
  }
  for (const char* key : {"attention_bias", "mlp_bias"}) {
    if (has(json, key) && json_bool(json, key, where)) {
      throw InputError(concat(where, ": ", key, " is on; llama3 models have no biases"));
    }
  }
  ModelDescription model{.name = "llama3",
                         .flavor = "",
                         .dim = json_int(json, "hidden_size", where),
                         .n_layers = json_int(json, "num_hidden_layers", where),
                         .n_heads = json_int(json, "num_attention_heads", where),
                         .n_kv_heads = 0,
                         .ffn_hidden = json_int(json, "intermediate_size", where),
                         .vocab_size = json_int(json, "vocab_size", where),
                         .max_seq_len = json_int(json, "max_position_embeddings", where),
                         .norm_eps = json_double(json, "rms_norm_eps", where),
                         .rope_theta = 0,
                         .rope_scaling = {},
                         .bos_token_id = token_id(json, "bos_token_id", where),
                         .eos_token_id = token_id(json, "eos_token_id", where)};
  model.n_kv_heads = has(json, "num_key_value_heads") ? json_int(json, "num_key_value_heads", where)
                                                      : model.n_heads;
  check(model, where);
  if (has(json, "head_dim") && json_int(json, "head_dim", where) * model.n_heads != model.dim) {
    throw InputError(
        concat(where, ": head_dim times heads is not hidden_size, which is not supported"));
  }
  const Json& rope = has(json, "rope_parameters") ? json["rope_parameters"] : json;
  model.rope_theta = has(rope, "rope_theta") ? json_double(rope, "rope_theta", where) : 10000;
  const Json scaling = has(json, "rope_parameters") ? rope : json.value("rope_scaling", Json());
  if (scaling.is_object()) {
    std::string key = has(scaling, "rope_type") ? "rope_type" : "type";
    std::string type = has(scaling, key.c_str()) ? json_string(scaling, key, where) : "default";
    if (type == "llama3") {
      model.rope_scaling = read_scaling(scaling, where);
    } else if (type != "default") {
      throw InputError(
          concat(where, ": rope scaling of type \"", type, "\" is not supported, only \"llama3\""));
    }
  }
  return model;
}

}  // namespace titan
