// Cutting a text into the pieces that byte-pair encoding works on: a sequence of stages, each of
// which cuts every piece of the stage before (Hugging Face's pre-tokenizers Split, ByteLevel and
// Digits).
#pragma once

#include <functional>
#include <optional>
#include <string_view>
#include <vector>

#include "lib/data/tokenizer_regex.hpp"

namespace titan {

// What becomes of the matches of a stage's pattern.
enum class SplitBehavior {
  kRemoved,
  kIsolated,            // a piece each
  kMergedWithPrevious,  // joined to the piece before
  kMergedWithNext,      // joined to the piece behind
  kContiguous,          // neighbouring matches are one piece
};

struct SplitStage {
  bool prefix_space = false;  // first: put a space before a piece that does not start with one
  std::optional<Regex> pattern = std::nullopt;  // then: cut at its matches
  SplitBehavior behavior = SplitBehavior::kIsolated;
  bool invert = false;  // what lies between the matches is taken for the matches
};

// Calls `emit` with the non-empty pieces of `text`, in order. `text` must be well-formed UTF-8; a
// piece may live only as long as the call.
void split_text(const std::vector<SplitStage>& stages, std::string_view text,
                Regex::Matcher& matcher, const std::function<void(std::string_view)>& emit);

}  // namespace titan
