// All documents of a text source as tokens, in order, on every processor core.
#pragma once

#include <functional>
#include <span>

#include "lib/data/documents.hpp"
#include "lib/data/source.hpp"
#include "lib/data/tokenizer.hpp"

namespace titan::data {

// Calls write(tokens) for piece after piece of the stream, on the calling thread; the pieces'
// borders mean nothing. The tokens do not depend on `threads`. Logs progress every few seconds.
// Returns what was found; throws InputError on malformed files, and what write() throws.
LineReport tokenise(const Source& source, const Tokenizer& tokenizer, size_t threads,
                    const std::function<void(std::span<const int32_t>)>& write);

}  // namespace titan::data
