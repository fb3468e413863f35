#include "lib/base/error.hpp"
#include "lib/checkpoint/hugging_face.hpp"

namespace titan {

std::vector<LlamaTensor> llama_tensors(const ModelDescription& model) {
  const int64_t head = model.dim / model.n_heads;
  const int64_t kv_dim = head * model.n_kv_heads;
  std::vector<LlamaTensor> tensors;
  auto add = [&](const std::string& name, const std::string& hugging_face, Shape shape,
                 int64_t head_rows = 0) {
    tensors.push_back({name + ".weight", hugging_face + ".weight", std::move(shape), head_rows});
  };
  add("tok_embeddings", "model.embed_tokens", {model.vocab_size, model.dim});
  for (int64_t layer = 0; layer < model.n_layers; ++layer) {
    std::string ours = concat("layers.", layer, ".");
    std::string theirs = concat("model.layers.", layer, ".");
    add(ours + "attention_norm", theirs + "input_layernorm", {model.dim});
    add(ours + "attention.wq", theirs + "self_attn.q_proj", {model.dim, model.dim}, head);
    add(ours + "attention.wk", theirs + "self_attn.k_proj", {kv_dim, model.dim}, head);
    add(ours + "attention.wv", theirs + "self_attn.v_proj", {kv_dim, model.dim});
    add(ours + "attention.wo", theirs + "self_attn.o_proj", {model.dim, model.dim});
    add(ours + "ffn_norm", theirs + "post_attention_layernorm", {model.dim});
    add(ours + "feed_forward.w1", theirs + "mlp.gate_proj", {model.ffn_hidden, model.dim});
    add(ours + "feed_forward.w3", theirs + "mlp.up_proj", {model.ffn_hidden, model.dim});
    add(ours + "feed_forward.w2", theirs + "mlp.down_proj", {model.dim, model.ffn_hidden});
  }
  add("norm", "model.norm", {model.dim});
  add("output", "lm_head", {model.vocab_size, model.dim});
  return tensors;
}

int64_t hugging_face_row(int64_t row, int64_t head_rows) {
  int64_t first = row / head_rows * head_rows;
  int64_t in_head = row - first;
  return first + in_head % 2 * (head_rows / 2) + in_head / 2;
}

}  // namespace titan
