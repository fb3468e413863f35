#include "lib/train/describe_model.hpp"

namespace titan {

ModelDescription describe_model(const DecoderConfig& model) {
  const AttentionConfig& attention = model.layers.front().attention;
  ModelDescription description;
  description.name = model.name;
  description.flavor = model.flavor;
  description.dim = model.embedding.dim;
  description.n_layers = static_cast<int64_t>(model.layers.size());
  description.n_heads = attention.heads;
  description.n_kv_heads = attention.kv_heads;
  description.ffn_hidden = model.layers.front().feed_forward.hidden;
  description.vocab_size = model.embedding.vocab_size;
  description.norm_eps = model.norm.eps;
  description.rope_theta = attention.rope.theta;
  description.max_seq_len = model.max_seq_len;
  if (attention.rope.scaling) {
    const ops::RopeScaling& scaling = *attention.rope.scaling;
    description.rope_scaling = RopeScaling{scaling.factor, scaling.low_freq_factor,
                                           scaling.high_freq_factor, scaling.original_max_position};
  }
  return description;
}

}  // namespace titan
