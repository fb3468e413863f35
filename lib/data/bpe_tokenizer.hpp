// Byte-level BPE as a Tokenizer: added tokens are cut out, the rest is normalised, cut into pieces,
// and each piece's bytes are merged into tokens.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "lib/data/bpe.hpp"
#include "lib/data/tokenizer.hpp"
#include "lib/data/tokenizer_added_tokens.hpp"
#include "lib/data/tokenizer_spec.hpp"
#include "lib/data/tokenizer_split.hpp"

namespace titan {

class BpeTokenizer : public Tokenizer {
 public:
  // Throws InputError when two tokens share an id; `where` names the file.
  BpeTokenizer(TokenizerSpec spec, std::string fingerprint, const std::string& where);
  ~BpeTokenizer() override;

  void encode(std::string_view text, std::vector<int32_t>& out) const override;
  std::string decode(std::span<const int32_t> ids) const override;

 private:
  struct Scratch;

  void encode_normalized(std::string_view text, Scratch& scratch, std::vector<int32_t>& out) const;
  void encode_pieces(std::string_view text, Scratch& scratch, std::vector<int32_t>& out) const;
  std::unique_ptr<Scratch> take_scratch() const;
  void set_document_frame(const TokenizerSpec& spec);

  std::vector<std::optional<std::string>> bytes_;  // by id: what the token stands for
  BytePairEncoder encoder_;
  AddedTokenFinder raw_tokens_, normalized_tokens_;
  bool nfc_;
  std::vector<SplitStage> stages_;

  // Word caches and match states, one for each thread that is inside encode().
  mutable std::mutex mutex_;
  mutable std::vector<std::unique_ptr<Scratch>> idle_;
};

}  // namespace titan
