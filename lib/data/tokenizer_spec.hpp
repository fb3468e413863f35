// What the files of a tokenizer say, before an engine is built from it: the readers of the formats
// fill a TokenizerSpec, build_tokenizer() turns it into a Tokenizer.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "lib/data/bpe.hpp"
#include "lib/data/tokenizer.hpp"
#include "lib/data/tokenizer_added_tokens.hpp"
#include "lib/data/tokenizer_split.hpp"

namespace titan {

struct TokenizerSpec {
  // Token to id. Hugging Face's files spell each byte of a token as a printable character (GPT-2's
  // alphabet); tiktoken's hold the bytes themselves.
  std::unordered_map<std::string, int32_t> vocab;
  bool byte_alphabet = true;
  std::vector<BytePairEncoder::Merge> merges;
  bool whole_pieces_first = false;  // a piece that is a token is not merged: ignore_merges

  std::vector<AddedToken> added_tokens;  // filled by add_token()
  bool nfc = false;                      // normalise to Unicode's form C
  std::vector<SplitStage> stages;

  std::vector<int32_t> template_prefix, template_suffix;  // what the file's own template adds
  std::optional<int32_t> bos_id, eos_id;
  std::vector<std::string> warnings;  // for the log: what loads, but surprises

  std::optional<int32_t> find_id(const std::string& token) const;
  // Adds a token, or changes the flags of one that was added before. Its id is the one that the
  // token has already, else the next free one, as Hugging Face numbers them: `token.id` is not
  // read.
  int32_t add_token(AddedToken token);
  // The bytes of text that a token of the vocabulary stands for; nullopt when no text can give it.
  std::optional<std::string> bytes_of(const std::string& token) const;
  // The token of each byte, or -1.
  std::array<int32_t, 256> byte_ids() const;
  // Adds to the warnings when bytes that texts can hold have no token.
  void warn_of_dropped_bytes();

 private:
  std::unordered_map<std::string, size_t> added_index_;
  int32_t highest_added_id_ = -1;
};

// The readers. `where` names the file in messages. All throw InputError on anything malformed, and
// on components, options and keys that they do not know, by name.
TokenizerSpec parse_tokenizer_json(std::string_view json, const std::string& where);
TokenizerSpec parse_vocab_and_merges(std::string_view vocab_json, const std::string& vocab_where,
                                     std::string_view merges_txt, const std::string& merges_where);
TokenizerSpec parse_tiktoken(std::string_view ranks, const std::string& where);

// tokenizer_config.json: adds its special tokens and finds BOS and EOS.
void apply_tokenizer_config(TokenizerSpec& spec, std::string_view json, const std::string& where);

// Throws InputError when the spec contradicts itself; `where` names the file.
std::unique_ptr<Tokenizer> build_tokenizer(TokenizerSpec spec, std::string fingerprint,
                                           const std::string& where);

// The pieces of GPT-2: ByteLevel's own pattern.
Regex byte_level_pattern();

}  // namespace titan
