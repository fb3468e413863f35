// Text to token ids and back. One interface; load_tokenizer() picks the engine by the files it
// finds.
//
// All const members may be called from any number of threads at once. Text is bytes that should be
// UTF-8; ill-formed parts count as U+FFFD, as Python's errors="replace" has it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace titan {

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  // Appends the ids of the text, without what document_prefix() and document_suffix() hold. Throws
  // Error when the file's own regular expression gives up on the text (a pathological pattern).
  virtual void encode(std::string_view text, std::vector<int32_t>& out) const = 0;

  // The text of the ids, special tokens included. Throws InputError on an id that does not exist.
  virtual std::string decode(std::span<const int32_t> ids) const = 0;

  // Highest id + 1: what the model's embedding must at least have.
  int64_t vocab_size() const { return properties_.vocab_size; }
  std::optional<int32_t> bos_id() const { return properties_.bos_id; }
  std::optional<int32_t> eos_id() const { return properties_.eos_id; }

  // What a packer puts around the ids of every document: BOS and EOS where they are known, once,
  // and whatever else the tokenizer's own template adds. Usually one id each, possibly none.
  std::span<const int32_t> document_prefix() const { return properties_.document_prefix; }
  std::span<const int32_t> document_suffix() const { return properties_.document_suffix; }

  // Equal fingerprints give equal ids: a hash (32 hex digits) of the files and of the versions of
  // the Unicode libraries, for the keys of token caches.
  const std::string& fingerprint() const { return properties_.fingerprint; }

 protected:
  struct Properties {
    int64_t vocab_size = 0;
    std::optional<int32_t> bos_id, eos_id;
    std::vector<int32_t> document_prefix, document_suffix;
    std::string fingerprint;
  };
  Properties properties_;
};

// Loads from a folder: tokenizer.json; else vocab.json with merges.txt (GPT-2's splitting); else
// tokenizer.model as a tiktoken rank file (Llama-3's pattern and special tokens). BOS and EOS come
// from tokenizer_config.json and the template of tokenizer.json. Throws InputError that names the
// file and the entry: nothing found, corrupt, or a component that this engine does not have.
std::unique_ptr<Tokenizer> load_tokenizer(const std::filesystem::path& folder);

}  // namespace titan
