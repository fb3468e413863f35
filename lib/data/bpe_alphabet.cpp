#include "lib/data/bpe_alphabet.hpp"

#include <unicode/utf8.h>

#include <array>

namespace titan {
namespace {

constexpr UChar32 kCharacters = 0x100 + 68;  // 188 bytes are themselves, 68 follow from U+0100 on

// The byte of each character of the alphabet, or -1. Printable Latin-1 characters are themselves.
constexpr std::array<int, kCharacters> byte_of_character() {
  std::array<int, kCharacters> bytes{};
  bytes.fill(-1);
  UChar32 next = 0x100;
  for (int byte = 0; byte < 256; ++byte) {
    bool itself = (byte > 0x20 && byte < 0x7F) || (byte > 0xA0 && byte != 0xAD);
    bytes[itself ? byte : next++] = byte;
  }
  return bytes;
}

}  // namespace

std::optional<std::string> spelled_bytes(std::string_view token) {
  static constexpr auto kBytes = byte_of_character();
  std::string bytes;
  for (int32_t at = 0, size = static_cast<int32_t>(token.size()); at < size;) {
    UChar32 c;
    U8_NEXT(token.data(), at, size, c);
    if (c < 0 || c >= kCharacters || kBytes[c] < 0) return std::nullopt;
    bytes += static_cast<char>(kBytes[c]);
  }
  return bytes;
}

}  // namespace titan
