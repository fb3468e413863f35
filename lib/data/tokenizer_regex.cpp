// PCRE2 behind Regex: compile once, search with per-thread state.
#include "lib/data/tokenizer_regex.hpp"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <array>
#include <utility>

#include "lib/base/error.hpp"

namespace titan {
namespace {

// JIT code starts on the machine's stack and moves here for deep matches.
constexpr size_t kJitStackStart = size_t{32} << 10;
constexpr size_t kJitStackLimit = size_t{16} << 20;

std::string message_of(int code) {
  std::array<PCRE2_UCHAR, 256> buffer{};
  pcre2_get_error_message(code, buffer.data(), buffer.size());
  return reinterpret_cast<const char*>(buffer.data());
}

}  // namespace

struct Regex::Code {
  Code(std::string_view pattern, uint32_t options) {
    int error = 0;
    PCRE2_SIZE offset = 0;
    code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(), options,
                         &error, &offset, nullptr);
    if (code == nullptr) {
      throw InputError(
          concat("regular expression \"", pattern, "\": ", message_of(error), " at byte ", offset));
    }
    // Without JIT support on this machine the interpreter gives the same matches, only slower.
    pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);
  }
  Code(const Code&) = delete;
  Code& operator=(const Code&) = delete;
  ~Code() { pcre2_code_free(code); }

  pcre2_code* code = nullptr;
};

struct Regex::Matcher::State {
  State()
      : data(pcre2_match_data_create(1, nullptr)),
        context(pcre2_match_context_create(nullptr)),
        stack(pcre2_jit_stack_create(kJitStackStart, kJitStackLimit, nullptr)) {
    TITAN_CHECK(data != nullptr && context != nullptr, "out of memory for a regular expression");
    pcre2_jit_stack_assign(context, nullptr, stack);
  }
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  ~State() {
    pcre2_jit_stack_free(stack);
    pcre2_match_context_free(context);
    pcre2_match_data_free(data);
  }

  pcre2_match_data* data;
  pcre2_match_context* context;
  pcre2_jit_stack* stack;
};

Regex::Matcher::Matcher() : state_(std::make_unique<State>()) {}
Regex::Matcher::Matcher(Matcher&&) noexcept = default;
Regex::Matcher::~Matcher() = default;

Regex::Regex(std::unique_ptr<Code> code) : code_(std::move(code)) {}
Regex::Regex(Regex&&) noexcept = default;
Regex& Regex::operator=(Regex&&) noexcept = default;
Regex::~Regex() = default;

Regex Regex::from_oniguruma(std::string_view pattern) {
  return Regex(std::make_unique<Code>(translate_oniguruma(pattern), PCRE2_UTF | PCRE2_UCP));
}

Regex Regex::from_literal(std::string_view text) {
  return Regex(std::make_unique<Code>(text, PCRE2_UTF | PCRE2_LITERAL));
}

std::optional<Regex::Match> Regex::find(std::string_view subject, size_t start,
                                        Matcher& matcher) const {
  Matcher::State& state = *matcher.state_;
  int count = pcre2_match(code_->code, reinterpret_cast<PCRE2_SPTR>(subject.data()), subject.size(),
                          start, PCRE2_NO_UTF_CHECK, state.data, state.context);
  if (count == PCRE2_ERROR_NOMATCH) return std::nullopt;
  if (count < 0) {
    throw Error(concat("the tokenizer's regular expression failed on a text of ", subject.size(),
                       " bytes at byte ", start, ": ", message_of(count)));
  }
  const PCRE2_SIZE* offsets = pcre2_get_ovector_pointer(state.data);
  return Match{offsets[0], offsets[1]};
}

}  // namespace titan
