// The regular expressions of tokenizer files, which are written for Oniguruma, on PCRE2 with its
// JIT: the same matches, about twice as fast. What the two read differently is translated (\s,
// scripts) or refused by name (\w, whose members there depend on where it stands; nested classes;
// ...). What remains is the age of the Unicode tables: PCRE2 10.42 (Debian 12, Ubuntu 24.04)
// has 14.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace titan {

// The PCRE2 pattern that matches what Oniguruma (Ruby syntax, UTF-8) matches with `pattern`.
// Throws InputError that names the construct when there is no safe translation.
std::string translate_oniguruma(std::string_view pattern);

// A compiled pattern. Immutable: any number of threads may search, each with its own Matcher.
class Regex {
 public:
  struct Match {
    size_t begin, end;  // bytes
  };

  // Where a search keeps its registers and its stack: one per thread, good for every Regex.
  class Matcher {
   public:
    Matcher();
    Matcher(Matcher&&) noexcept;
    ~Matcher();

   private:
    friend class Regex;
    struct State;
    std::unique_ptr<State> state_;
  };

  // Compiles a pattern in Oniguruma's syntax, or a literal string. Throws InputError on a pattern
  // that cannot be translated or is malformed.
  static Regex from_oniguruma(std::string_view pattern);
  static Regex from_literal(std::string_view text);

  Regex(Regex&&) noexcept;
  Regex& operator=(Regex&&) noexcept;
  ~Regex();

  // The leftmost match that starts at `start` or later. `subject` must be well-formed UTF-8. Throws
  // Error when the search exceeds PCRE2's limits, which keep a pathological pattern from running
  // on.
  std::optional<Match> find(std::string_view subject, size_t start, Matcher& matcher) const;

 private:
  struct Code;
  explicit Regex(std::unique_ptr<Code> code);
  std::unique_ptr<Code> code_;
};

}  // namespace titan
