// Pieces that Hugging Face's tokenizer files share: vocabulary, merges, added tokens.
#pragma once

#include "lib/data/tokenizer_json_entry.hpp"
#include "lib/data/tokenizer_spec.hpp"

namespace titan {

// {"token": id, ...} into spec.vocab.
void read_vocab(const JsonEntry& vocab, TokenizerSpec& spec);
// ["a b", ...] or [["a", "b"], ...] into spec.merges; needs the vocabulary.
void read_merges(const JsonEntry& merges, TokenizerSpec& spec);
// {"content": ..., "lstrip": ..., ...}, absent flags being false, and `normalized` true.
AddedToken read_added_token(const JsonEntry& entry);

}  // namespace titan
