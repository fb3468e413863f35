// GPT-2's alphabet: byte-level BPE files write each byte of a token as one printable character.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace titan {

// The bytes that a token spells ("Ġthe" is " the"); nullopt when it has characters outside the
// alphabet, which no text can then give.
std::optional<std::string> spelled_bytes(std::string_view token);

}  // namespace titan
