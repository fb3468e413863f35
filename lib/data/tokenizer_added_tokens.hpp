// Added tokens: strings that become one token wherever they stand in a text, before anything else
// looks at it ("<|end_of_text|>").
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace titan {

struct AddedToken {
  std::string content;
  int32_t id = 0;
  bool single_word = false;  // only where no word character is next to it
  bool lstrip = false;       // takes the white space before it along
  bool rstrip = false;       // ... and behind it
  bool normalized = true;    // looked for in the normalised text
};

// Finds the leftmost-longest, non-overlapping occurrences. Immutable after construction.
class AddedTokenFinder {
 public:
  struct Found {
    size_t begin, end;  // bytes, with the white space that was taken along
    int32_t id;
  };

  // Contents must be non-empty and unique.
  explicit AddedTokenFinder(std::vector<AddedToken> tokens);

  bool empty() const { return tokens_.empty(); }
  // Replaces `found` by the occurrences in `text` (well-formed UTF-8), in order.
  void find(std::string_view text, std::vector<Found>& found) const;

 private:
  const AddedToken* longest_at(std::string_view text) const;

  std::vector<AddedToken> tokens_;  // sorted by content
  bool starts_[256] = {};           // which bytes a token starts with
};

}  // namespace titan
