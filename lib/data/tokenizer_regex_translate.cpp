// From Oniguruma's (Ruby's) regular expressions to PCRE2's, for the constructs that tokenizers use.
#include <string>
#include <string_view>

#include "lib/base/error.hpp"
#include "lib/data/tokenizer_regex.hpp"

namespace titan {
namespace {

// What a class holds for \s: Unicode's White_Space. PCRE2's own \s has U+180E besides.
constexpr std::string_view kSpace = R"(\p{Z}\t-\r\x{85})";
// Escapes that mean the same to both.
constexpr std::string_view kCommonEscapes = "dDAzZnrtf";

bool is_alphanumeric(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

// Reads the pattern left to right and writes the translation; each member consumes one construct.
class Translator {
 public:
  explicit Translator(std::string_view pattern) : pattern_(pattern) {}

  std::string run() {
    while (at_ < pattern_.size()) step();
    if (in_class_) refuse("a character class without its end");
    return std::move(out_);
  }

 private:
  void step() {
    char c = pattern_[at_];
    if (c == '\\') return escape();
    if (in_class_) return class_character(c);
    switch (c) {
      case '[':
        return open_class();
      case '(':
        return group();
      case '{':
        return repeat();
      case '.':
        ++at_;
        out_ += "[^\\n]";
        return;
      case '^':
      case '$':
        refuse(concat("'", c, "', which matches at every line there"));
      default:
        ++at_;
        out_ += c;
    }
  }

  void class_character(char c) {
    if (c == '[') refuse("a nested or POSIX class ('[' in a class)");
    if (rest().starts_with("&&")) refuse("an intersection of classes (\"&&\")");
    in_class_ = c != ']';
    ++at_;
    out_ += c;
  }

  void open_class() {
    bool negated = rest().starts_with("[^");
    out_ += negated ? "[^" : "[";
    at_ += negated ? 2 : 1;
    if (rest().starts_with("]")) refuse("']' at the start of a class");
    in_class_ = true;
  }

  void group() {
    for (std::string_view opening : {"(?:", "(?i:", "(?=", "(?!", "(?<=", "(?<!", "(?>"}) {
      if (!rest().starts_with(opening)) continue;
      out_ += opening;
      at_ += opening.size();
      return;
    }
    if (rest().starts_with("(?") || rest().starts_with("(*")) {
      refuse(concat("the group \"", rest().substr(0, 4), "\""));
    }
    out_ += '(';
    ++at_;
  }

  // {n}, {n,}, {n,m}. Ruby reads a '+' or '?' behind it as a second repeat, PCRE2 as possessive or
  // lazy.
  void repeat() {
    size_t end = pattern_.find('}', at_);
    if (end == std::string_view::npos) refuse("'{' without '}'");
    std::string_view bounds = pattern_.substr(at_ + 1, end - at_ - 1);
    if (bounds.empty() || bounds.front() == ',' ||
        bounds.find_first_not_of("0123456789,") != std::string_view::npos) {
      refuse(concat("the repeat \"{", bounds, "}\""));
    }
    out_ += pattern_.substr(at_, end + 1 - at_);
    at_ = end + 1;
    if (rest().starts_with("+") || rest().starts_with("?")) refuse("'+' or '?' behind \"{...}\"");
  }

  void escape() {
    if (at_ + 1 == pattern_.size()) refuse("a lone '\\' at the end");
    char c = pattern_[at_ + 1];
    if (c == 'p' || c == 'P') return property();
    if (c == 'u') return code_point();
    at_ += 2;
    if (c == 's' || c == 'S') return space(c == 'S');
    if (is_alphanumeric(c) && kCommonEscapes.find(c) == std::string_view::npos) {
      refuse(concat("the escape \"\\", c, "\""));
    }
    if (in_class_ && (c == 'A' || c == 'z' || c == 'Z')) refuse("an anchor in a class");
    out_ += '\\';
    out_ += c;
  }

  void space(bool negated) {
    if (!in_class_) {
      out_ += concat(negated ? "[^" : "[", kSpace, "]");
    } else if (negated) {
      refuse("\"\\S\" in a class");
    } else {
      out_ += kSpace;
    }
  }

  // \p{L} and \p{Lu} are general categories in both. Longer names are scripts: PCRE2 takes a bare
  // one for Script_Extensions, Oniguruma for Script.
  void property() {
    size_t end = pattern_.find('}', at_);
    if (pattern_.substr(at_ + 2, 1) != "{" || end == std::string_view::npos) {
      refuse("\"\\p\" without \"{...}\"");
    }
    std::string_view name = pattern_.substr(at_ + 3, end - at_ - 3);
    bool negated = name.starts_with('^');
    std::string_view bare = name.substr(negated ? 1 : 0);
    bool category = bare.size() <= 2 || bare == "Any";
    for (char c : bare) {
      if (!is_alphanumeric(c) && c != '_') refuse(concat("the property \"", name, "\""));
    }
    out_ +=
        concat(pattern_.substr(at_, 2), "{", negated ? "^" : "", category ? "" : "sc:", bare, "}");
    at_ = end + 1;
  }

  // \uHHHH
  void code_point() {
    std::string_view digits = pattern_.substr(at_ + 2, 4);
    if (digits.size() < 4 || digits.find_first_not_of("0123456789abcdefABCDEF") != digits.npos) {
      refuse("\"\\u\" without four hexadecimal digits");
    }
    out_ += concat("\\x{", digits, "}");
    at_ += 6;
  }

  std::string_view rest() const { return pattern_.substr(at_); }

  [[noreturn]] void refuse(std::string_view construct) const {
    throw InputError(concat("regular expression \"", pattern_, "\", byte ", at_, ": ", construct,
                            " is not supported"));
  }

  std::string_view pattern_;
  size_t at_ = 0;
  bool in_class_ = false;
  std::string out_;
};

}  // namespace

std::string translate_oniguruma(std::string_view pattern) { return Translator(pattern).run(); }

}  // namespace titan
