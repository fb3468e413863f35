#include "lib/data/tokenizer_added_tokens.hpp"

#include <unicode/uchar.h>
#include <unicode/utf8.h>

#include <algorithm>
#include <utility>

namespace titan {
namespace {

int32_t length_of(std::string_view text) { return static_cast<int32_t>(text.size()); }

// A word character as Unicode's regular expressions have it (UTS 18, \w).
bool is_word(UChar32 c) {
  return u_isUAlphabetic(c) ||
         (U_GET_GC_MASK(c) & (U_GC_M_MASK | U_GC_ND_MASK | U_GC_PC_MASK)) != 0 ||
         u_hasBinaryProperty(c, UCHAR_JOIN_CONTROL);
}

bool ends_with_word(std::string_view text) {
  if (text.empty()) return false;
  UChar32 c;
  int32_t at = length_of(text);
  U8_PREV(text.data(), 0, at, c);
  return is_word(c);
}

bool starts_with_word(std::string_view text) {
  if (text.empty()) return false;
  UChar32 c;
  int32_t at = 0;
  U8_NEXT(text.data(), at, length_of(text), c);
  return is_word(c);
}

size_t leading_space(std::string_view text) {
  int32_t end = 0;
  for (int32_t at = 0; at < length_of(text);) {
    UChar32 c;
    U8_NEXT(text.data(), at, length_of(text), c);
    if (!u_isUWhiteSpace(c)) break;
    end = at;
  }
  return static_cast<size_t>(end);
}

size_t trailing_space_begin(std::string_view text) {
  int32_t begin = length_of(text);
  for (int32_t at = begin; at > 0;) {
    UChar32 c;
    U8_PREV(text.data(), 0, at, c);
    if (!u_isUWhiteSpace(c)) break;
    begin = at;
  }
  return static_cast<size_t>(begin);
}

}  // namespace

AddedTokenFinder::AddedTokenFinder(std::vector<AddedToken> tokens) : tokens_(std::move(tokens)) {
  std::sort(tokens_.begin(), tokens_.end(),
            [](const AddedToken& a, const AddedToken& b) { return a.content < b.content; });
  for (const AddedToken& token : tokens_) starts_[static_cast<uint8_t>(token.content[0])] = true;
}

// Narrows the sorted tokens to those that agree with the text in their first `depth` bytes; the
// shortest of them comes first.
const AddedToken* AddedTokenFinder::longest_at(std::string_view text) const {
  const AddedToken* longest = nullptr;
  auto first = tokens_.begin(), last = tokens_.end();
  for (size_t depth = 0; first != last; ++depth) {
    if (first->content.size() == depth) longest = &*first++;
    if (depth == text.size()) break;
    auto byte_at = [depth](const AddedToken& token) {
      return static_cast<uint8_t>(token.content[depth]);
    };
    uint8_t byte = static_cast<uint8_t>(text[depth]);
    first = std::partition_point(first, last,
                                 [&](const AddedToken& token) { return byte_at(token) < byte; });
    last = std::partition_point(first, last,
                                [&](const AddedToken& token) { return byte_at(token) == byte; });
  }
  return longest;
}

void AddedTokenFinder::find(std::string_view text, std::vector<Found>& found) const {
  found.clear();
  if (tokens_.empty()) return;
  size_t taken = 0;  // up to here the text belongs to tokens already found
  for (size_t at = 0; at < text.size();) {
    const AddedToken* token =
        starts_[static_cast<uint8_t>(text[at])] ? longest_at(text.substr(at)) : nullptr;
    if (token == nullptr) {
      ++at;
      continue;
    }
    size_t begin = at, end = at + token->content.size();
    at = end;
    if (token->single_word &&
        (ends_with_word(text.substr(0, begin)) || starts_with_word(text.substr(end)))) {
      continue;
    }
    if (token->lstrip) begin = std::max(trailing_space_begin(text.substr(0, begin)), taken);
    if (token->rstrip) end += leading_space(text.substr(end));
    found.push_back({begin, end, token->id});
    taken = end;
  }
}

}  // namespace titan
