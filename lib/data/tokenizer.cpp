// Finds a tokenizer's files in a folder and picks the reader.
#include "lib/data/tokenizer.hpp"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <unicode/uvernum.h>

#include <string>
#include <utility>
#include <vector>

#include "lib/base/error.hpp"
#include "lib/base/file.hpp"
#include "lib/base/log.hpp"
#include "lib/data/fingerprint.hpp"
#include "lib/data/tokenizer_spec.hpp"

namespace titan {
namespace {

namespace fs = std::filesystem;

// The files that were read, for the fingerprint.
class Files {
 public:
  explicit Files(fs::path folder) : folder_(std::move(folder)) {}

  bool has(const char* name) const { return fs::is_regular_file(folder_ / name); }
  std::string path(const char* name) const { return (folder_ / name).string(); }

  std::string read(const char* name) {
    std::string content = read_file(folder_ / name);
    read_.add(name).add(content);
    return content;
  }

  // With the versions of the libraries: newer tables of characters can cut a text into other
  // pieces.
  std::string fingerprint() const {
    char pcre2[64] = {};
    pcre2_config(PCRE2_CONFIG_VERSION, pcre2);
    return data::Fingerprint(read_).add(pcre2).add(U_ICU_VERSION).hex();
  }

 private:
  fs::path folder_;
  data::Fingerprint read_;
};

TokenizerSpec read_spec(const fs::path& folder, Files& files, std::string& where) {
  if (files.has("tokenizer.json")) {
    where = files.path("tokenizer.json");
    return parse_tokenizer_json(files.read("tokenizer.json"), where);
  }
  if (files.has("vocab.json")) {
    where = files.path("vocab.json");
    if (!files.has("merges.txt")) {
      throw InputError(concat(where,
                              " has no merges.txt beside it; word-level vocabularies are not "
                              "supported: bring merges.txt or a tokenizer.json"));
    }
    std::string vocab = files.read("vocab.json"), merges = files.read("merges.txt");
    return parse_vocab_and_merges(vocab, where, merges, files.path("merges.txt"));
  }
  if (files.has("tokenizer.model")) {
    where = files.path("tokenizer.model");
    return parse_tiktoken(files.read("tokenizer.model"), where);
  }
  throw InputError(
      concat("no tokenizer in ", folder.string(), fs::is_directory(folder) ? "" : " (not a folder)",
             ": looked for tokenizer.json, vocab.json with merges.txt, and "
             "tokenizer.model (tiktoken ranks); set model.hf_assets_path to the folder "
             "that holds one of them"));
}

}  // namespace

std::unique_ptr<Tokenizer> load_tokenizer(const fs::path& folder) {
  Files files(folder);
  std::string where;
  TokenizerSpec spec = read_spec(folder, files, where);
  if (files.has("tokenizer_config.json")) {
    std::string config = files.read("tokenizer_config.json");
    apply_tokenizer_config(spec, config, files.path("tokenizer_config.json"));
  }
  spec.warn_of_dropped_bytes();
  for (const std::string& warning : spec.warnings) log::warning(concat(where, ": ", warning));
  auto tokenizer = build_tokenizer(std::move(spec), files.fingerprint(), where);
  if (tokenizer->document_prefix().empty() && tokenizer->document_suffix().empty()) {
    log::warning(concat(where,
                        ": neither BOS nor EOS is known (tokenizer_config.json says them): "
                        "documents will follow each other without a mark between them"));
  }
  return tokenizer;
}

}  // namespace titan
