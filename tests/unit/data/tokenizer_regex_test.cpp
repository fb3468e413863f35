// Oniguruma's patterns on PCRE2, and the ways to cut at their matches.
#include "lib/data/tokenizer_split.hpp"
#include "tests/unit/data/tokenizer_test_files.hpp"

namespace titan {
namespace {

TEST(TranslateOniguruma, CommonConstructsStay) {
  for (const char* pattern : {"", "a|b", "(?i:'s|'t)", R"(\p{L}+\p{Lu}\P{N}\p{^M})", "[^a-z\\]]?",
                              "x{2,3}y{2}z{1,}", "(?=a)(?!b)(?<=c)(?<!d)(?>e)(f)", R"(\d+\r\n\t)",
                              "一-龥", "a+?b*+", "[{}+?.^$()]", "\\[\\]\\{\\}\\."}) {
    EXPECT_EQ(translate_oniguruma(pattern), pattern);
  }
}

TEST(TranslateOniguruma, DifferentMeaningsAreTranslated) {
  EXPECT_EQ(translate_oniguruma(R"(\s)"), R"([\p{Z}\t-\r\x{85}])");
  EXPECT_EQ(translate_oniguruma(R"(\S)"), R"([^\p{Z}\t-\r\x{85}])");
  EXPECT_EQ(translate_oniguruma(R"([^\s\p{L}])"), R"([^\p{Z}\t-\r\x{85}\p{L}])");
  EXPECT_EQ(translate_oniguruma(R"(\p{Han}\P{^Greek})"), R"(\p{sc:Han}\P{^sc:Greek})");
  EXPECT_EQ(translate_oniguruma(R"([\u4e00-\u9fa5].)"), R"([\x{4e00}-\x{9fa5}][^\n])");
}

TEST(TranslateOniguruma, TheRestIsRefusedByName) {
  for (auto [pattern, reason] :
       std::vector<std::pair<const char*, const char*>>{{R"(\w)", "\"\\w\""},
                                                        {R"(\b)", "\"\\b\""},
                                                        {R"(\h)", "\"\\h\""},
                                                        {R"(\x41)", "\"\\x\""},
                                                        {R"([\S])", "in a class"},
                                                        {"[a[b]]", "nested"},
                                                        {"[[:alpha:]]", "nested"},
                                                        {"[a&&b]", "intersection"},
                                                        {"(?m:a)", "(?m"},
                                                        {"(?<name>a)", "(?<n"},
                                                        {"(*ACCEPT)", "(*AC"},
                                                        {"^a", "'^'"},
                                                        {"a$", "'$'"},
                                                        {"a{1,2}+", "behind"},
                                                        {"a{2}?", "behind"},
                                                        {"a{,2}", "repeat"},
                                                        {"a{x}", "repeat"},
                                                        {"a{2", "without '}'"},
                                                        {R"(\pL)", "without"},
                                                        {R"(\p{L)", "without"},
                                                        {R"(\p{L-M})", "property"},
                                                        {R"(\u12)", "hexadecimal"},
                                                        {"a\\", "lone"},
                                                        {"[a", "without its end"},
                                                        {"[]a]", "start of a class"},
                                                        {R"([\z])", "anchor"}}) {
    std::string message = input_error([&, p = pattern] { translate_oniguruma(p); });
    EXPECT_NE(message.find(reason), std::string::npos) << message;
  }
}

TEST(Regex, MalformedPatternsAreRefused) {
  for (const char* pattern : {"(", "a)", "*", "[z-a]", "\\p{Xyzzy}", "\xff"}) {
    EXPECT_THROW(Regex::from_oniguruma(pattern), InputError) << pattern;
  }
}

TEST(Regex, HopelessSearchesEndInAnError) {
  Regex regex = Regex::from_oniguruma("(a+a+)+[bc]");
  Regex::Matcher matcher;
  EXPECT_THROW(regex.find(std::string(40, 'a'), 0, matcher), Error);
}

std::vector<std::string> split(const SplitStage& stage, std::string_view text) {
  std::vector<std::string> pieces;
  Regex::Matcher matcher;
  std::vector<SplitStage> stages;
  stages.push_back(
      {stage.prefix_space, Regex::from_oniguruma("-+|(?=[A-Z])"), stage.behavior, stage.invert});
  split_text(stages, text, matcher, [&](std::string_view piece) { pieces.emplace_back(piece); });
  return pieces;
}

using Pieces = std::vector<std::string>;

TEST(SplitText, BehavesAsTold) {
  const char* text = "a--bC-";
  EXPECT_EQ(split({}, text), (Pieces{"a", "--", "b", "C", "-"}));
  EXPECT_EQ(split({.behavior = SplitBehavior::kRemoved}, text), (Pieces{"a", "b", "C"}));
  EXPECT_EQ(split({.behavior = SplitBehavior::kRemoved, .invert = true}, text),
            (Pieces{"--", "-"}));
  EXPECT_EQ(split({.behavior = SplitBehavior::kMergedWithPrevious}, text),
            (Pieces{"a--", "b", "C-"}));
  EXPECT_EQ(split({.behavior = SplitBehavior::kMergedWithNext}, text),
            (Pieces{"a", "--b", "C", "-"}));
  EXPECT_EQ(split({.behavior = SplitBehavior::kContiguous}, text),
            (Pieces{"a", "--", "b", "C", "-"}));
  EXPECT_EQ(split({.prefix_space = true}, "a-b"), (Pieces{" a", "-", "b"}));
  EXPECT_EQ(split({.prefix_space = true}, " a"), (Pieces{" a"}));
  EXPECT_EQ(split({}, ""), Pieces{});
}

TEST(SplitText, EachStageCutsThePiecesOfTheOneBefore) {
  std::vector<SplitStage> stages(2);
  stages[0].pattern = Regex::from_literal("b");
  stages[1].pattern = Regex::from_oniguruma("ab|(?<!b)c");  // no piece holds "ab" any more
  Regex::Matcher matcher;
  Pieces pieces;
  split_text(stages, "abcac", matcher, [&](std::string_view piece) { pieces.emplace_back(piece); });
  EXPECT_EQ(pieces, (Pieces{"a", "b", "c", "a", "c"}));
}

}  // namespace
}  // namespace titan
