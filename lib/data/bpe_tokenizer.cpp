#include "lib/data/bpe_tokenizer.hpp"

#include <simdjson.h>
#include <unicode/bytestream.h>
#include <unicode/normalizer2.h>
#include <unicode/utf8.h>

#include <algorithm>
#include <limits>
#include <unordered_set>
#include <utility>

#include "lib/base/error.hpp"

namespace titan {
namespace {

const icu::Normalizer2& nfc_normalizer() {
  UErrorCode error = U_ZERO_ERROR;
  const icu::Normalizer2* normalizer = icu::Normalizer2::getNFCInstance(error);
  TITAN_CHECK(U_SUCCESS(error), "ICU has no NFC data: ", u_errorName(error));
  return *normalizer;
}

std::string normalize_nfc(std::string_view text) {
  std::string result;
  icu::StringByteSink<std::string> sink(&result, static_cast<int32_t>(text.size()));
  UErrorCode error = U_ZERO_ERROR;
  icu::StringPiece piece(text.data(), static_cast<int32_t>(text.size()));
  nfc_normalizer().normalizeUTF8(0, piece, sink, nullptr, error);
  TITAN_CHECK(U_SUCCESS(error), "NFC normalisation failed: ", u_errorName(error));
  return result;
}

// Each maximal ill-formed part becomes one U+FFFD.
std::string replace_ill_formed(std::string_view text) {
  std::string result;
  int32_t size = static_cast<int32_t>(text.size());
  for (int32_t at = 0; at < size;) {
    int32_t begin = at;
    UChar32 c;
    U8_NEXT(text.data(), at, size, c);
    result += c < 0 ? std::string_view("\xEF\xBF\xBD") : text.substr(begin, at - begin);
  }
  return result;
}

BytePairEncoder::Config encoder_config(TokenizerSpec& spec) {
  BytePairEncoder::Config config{spec.byte_ids(), std::move(spec.merges), {}};
  if (!spec.whole_pieces_first) return config;
  for (const auto& [token, id] : spec.vocab) {
    if (auto bytes = spec.bytes_of(token)) config.whole_pieces.emplace(*std::move(bytes), id);
  }
  return config;
}

std::vector<AddedToken> select(const TokenizerSpec& spec, bool normalized) {
  std::vector<AddedToken> selected;
  std::unordered_set<std::string> seen;  // two contents may have one normal form
  for (AddedToken token : spec.added_tokens) {
    if (token.normalized != normalized) continue;
    if (normalized && spec.nfc) token.content = normalize_nfc(token.content);
    if (seen.insert(token.content).second) selected.push_back(std::move(token));
  }
  return selected;
}

}  // namespace

struct BpeTokenizer::Scratch {
  Regex::Matcher matcher;
  BytePairEncoder::Scratch words;
  std::vector<AddedTokenFinder::Found> raw, normalized;
};

BpeTokenizer::BpeTokenizer(TokenizerSpec spec, std::string fingerprint, const std::string& where)
    : encoder_(encoder_config(spec)),
      raw_tokens_(select(spec, false)),
      normalized_tokens_(select(spec, true)),
      nfc_(spec.nfc),
      stages_(std::move(spec.stages)) {
  auto set_bytes = [&](int32_t id, std::string bytes) {
    if (static_cast<size_t>(id) >= bytes_.size()) bytes_.resize(static_cast<size_t>(id) + 1);
    if (bytes_[id] && *bytes_[id] != bytes) {
      throw InputError(concat(where, ": the tokens \"", *bytes_[id], "\" and \"", bytes,
                              "\" share the id ", id));
    }
    bytes_[id] = std::move(bytes);
  };
  for (const auto& [token, id] : spec.vocab) {
    set_bytes(id, spec.bytes_of(token).value_or(token));
  }
  for (const AddedToken& token : spec.added_tokens) {
    if (!spec.vocab.contains(token.content)) set_bytes(token.id, token.content);
  }
  properties_.vocab_size = static_cast<int64_t>(bytes_.size());
  properties_.fingerprint = std::move(fingerprint);
  set_document_frame(spec);
}

BpeTokenizer::~BpeTokenizer() = default;

// BOS and EOS once each: only where the template does not add them. When they are the same token,
// as GPT-2's, one between two documents is enough (torchtitan has it so).
void BpeTokenizer::set_document_frame(const TokenizerSpec& spec) {
  auto in_template = [&](int32_t id) {
    return std::count(spec.template_prefix.begin(), spec.template_prefix.end(), id) +
               std::count(spec.template_suffix.begin(), spec.template_suffix.end(), id) >
           0;
  };
  properties_.bos_id = spec.bos_id;
  properties_.eos_id = spec.eos_id;
  properties_.document_prefix = spec.template_prefix;
  properties_.document_suffix = spec.template_suffix;
  if (spec.bos_id && !in_template(*spec.bos_id)) {
    properties_.document_prefix.insert(properties_.document_prefix.begin(), *spec.bos_id);
  }
  if (spec.eos_id && !in_template(*spec.eos_id) && spec.eos_id != spec.bos_id) {
    properties_.document_suffix.push_back(*spec.eos_id);
  }
}

std::unique_ptr<BpeTokenizer::Scratch> BpeTokenizer::take_scratch() const {
  std::lock_guard lock(mutex_);
  if (idle_.empty()) return std::make_unique<Scratch>();
  std::unique_ptr<Scratch> scratch = std::move(idle_.back());
  idle_.pop_back();
  return scratch;
}

void BpeTokenizer::encode(std::string_view text, std::vector<int32_t>& out) const {
  if (text.size() > std::numeric_limits<int32_t>::max() / 4) {
    throw InputError(concat("a text of ", text.size(), " bytes is too long to tokenise at once"));
  }
  std::string replaced;
  if (!simdjson::validate_utf8(text.data(), text.size()))
    text = replaced = replace_ill_formed(text);

  std::unique_ptr<Scratch> scratch = take_scratch();
  raw_tokens_.find(text, scratch->raw);
  size_t done = 0;
  for (const auto& found : scratch->raw) {
    if (done < found.begin) {
      encode_normalized(text.substr(done, found.begin - done), *scratch, out);
    }
    out.push_back(found.id);
    done = found.end;
  }
  encode_normalized(text.substr(done), *scratch, out);

  std::lock_guard lock(mutex_);
  idle_.push_back(std::move(scratch));
}

void BpeTokenizer::encode_normalized(std::string_view text, Scratch& scratch,
                                     std::vector<int32_t>& out) const {
  std::string normal_form;
  if (nfc_) text = normal_form = normalize_nfc(text);
  normalized_tokens_.find(text, scratch.normalized);
  size_t done = 0;
  for (const auto& found : scratch.normalized) {
    if (done < found.begin) encode_pieces(text.substr(done, found.begin - done), scratch, out);
    out.push_back(found.id);
    done = found.end;
  }
  encode_pieces(text.substr(done), scratch, out);
}

void BpeTokenizer::encode_pieces(std::string_view text, Scratch& scratch,
                                 std::vector<int32_t>& out) const {
  split_text(stages_, text, scratch.matcher,
             [&](std::string_view piece) { encoder_.encode(piece, scratch.words, out); });
}

std::string BpeTokenizer::decode(std::span<const int32_t> ids) const {
  std::string text;
  for (int32_t id : ids) {
    if (id < 0 || static_cast<size_t>(id) >= bytes_.size() || !bytes_[id]) {
      throw InputError(concat("the tokenizer has no token ", id));
    }
    text += *bytes_[id];
  }
  return text;
}

std::unique_ptr<Tokenizer> build_tokenizer(TokenizerSpec spec, std::string fingerprint,
                                           const std::string& where) {
  return std::make_unique<BpeTokenizer>(std::move(spec), std::move(fingerprint), where);
}

}  // namespace titan
