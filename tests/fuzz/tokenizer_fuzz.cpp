// Tokenizer files and texts. The first byte says what the rest is: j tokenizer.json, c
// tokenizer_config.json, r tiktoken ranks, m merges.txt, x a regular expression, anything else a
// text. Files load and encode, or throw InputError; texts survive encoding and decoding.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/error.hpp"
#include "lib/data/tokenizer_spec.hpp"

namespace {

using titan::TokenizerSpec;

constexpr std::string_view kText = "It's 1234 caf\xC3\xA9s <s>\r\n\t \xF0\x9F\x98\x80 \xFF";

// Every byte a token, and a few merges.
std::string vocabulary() {
  std::string json = "{";
  int id = 0;
  for (int code = 0x21; code < 0x144; ++code) {
    bool skipped = (code >= 0x7F && code <= 0xA0) || code == 0xAD;
    if (skipped) continue;
    char escaped[16];
    std::snprintf(escaped, sizeof escaped, "\"\\u%04x\":%d,", code, id++);
    json += escaped;
  }
  return json + "\"ab\":256,\"abc\":257,\"\\u0120a\":258}";
}

void build_and_encode(TokenizerSpec spec) {
  auto tokenizer = titan::build_tokenizer(std::move(spec), "", "file");
  std::vector<int32_t> ids;
  try {
    tokenizer->encode(kText, ids);
  } catch (const titan::Error&) {
    return;  // the file's own regular expression may be hopeless
  }
  tokenizer->decode(ids);
}

// Decoding gives the text back: with U+FFFD for what was ill-formed, so the second round is exact.
void check_round_trip(std::string_view text) {
  static const auto kTokenizer = titan::build_tokenizer(
      titan::parse_vocab_and_merges(vocabulary(), "vocab", "a b\nab c\n\xC4\xA0 a\n", "merges"), "",
      "vocab");
  std::vector<int32_t> ids, again;
  kTokenizer->encode(text, ids);
  std::string decoded = kTokenizer->decode(ids);
  kTokenizer->encode(decoded, again);
  if (again != ids || kTokenizer->decode(again) != decoded) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  std::string_view rest(reinterpret_cast<const char*>(data) + 1, size - 1);
  try {
    switch (data[0]) {
      case 'j':
        build_and_encode(titan::parse_tokenizer_json(rest, "file"));
        break;
      case 'c': {
        TokenizerSpec spec = titan::parse_vocab_and_merges(vocabulary(), "vocab", "", "merges");
        titan::apply_tokenizer_config(spec, rest, "file");
        build_and_encode(std::move(spec));
        break;
      }
      case 'r':
        build_and_encode(titan::parse_tiktoken(rest, "file"));
        break;
      case 'm':
        build_and_encode(titan::parse_vocab_and_merges(vocabulary(), "vocab", rest, "file"));
        break;
      case 'x':
        titan::Regex::from_oniguruma(rest);
        break;
      default:
        check_round_trip(rest);
    }
  } catch (const titan::InputError&) {
  }
  return 0;
}
