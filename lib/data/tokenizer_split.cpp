#include "lib/data/tokenizer_split.hpp"

#include <algorithm>
#include <span>
#include <string>

namespace titan {
namespace {

using Emit = std::function<void(std::string_view)>;

struct Run {
  size_t begin, end;
  bool matched;
};

size_t next_character(std::string_view text, size_t at) {
  do {
    ++at;
  } while (at < text.size() && (static_cast<uint8_t>(text[at]) & 0xC0) == 0x80);
  return at;
}

// Calls take(run) for what lies between matches and for the matches, in order, empty matches
// included. An empty match right behind a match does not count, as in Oniguruma's iterator.
template <class Take>
void for_each_run(const Regex& pattern, std::string_view text, Regex::Matcher& matcher, Take take) {
  size_t search = 0, done = 0;
  std::optional<size_t> last_end;
  while (search <= text.size()) {
    auto match = pattern.find(text, search, matcher);
    if (!match) break;
    if (match->begin == match->end && last_end == match->end) {
      search = next_character(text, match->end);
      continue;
    }
    if (done != match->begin) take(Run{done, match->begin, false});
    take(Run{match->begin, match->end, true});
    search = done = match->end;
    last_end = match->end;
  }
  if (done != text.size()) take(Run{done, text.size(), false});
}

// Joins runs as the behaviour says. A match joins its neighbour only when that one is no match that
// stands alone: of two matches in a row the second stays a piece (MergedWithNext: seen from the
// right).
std::vector<Run> merge_runs(std::vector<Run> runs, SplitBehavior behavior) {
  bool backwards = behavior == SplitBehavior::kMergedWithNext;
  if (backwards) std::reverse(runs.begin(), runs.end());
  std::vector<Run> merged;
  bool previous_matched = false;
  for (const Run& run : runs) {
    bool join = behavior == SplitBehavior::kContiguous ? run.matched == previous_matched
                                                       : run.matched && !previous_matched;
    previous_matched = run.matched;
    if (!join || merged.empty()) {
      merged.push_back(run);
    } else if (backwards) {
      merged.back().begin = run.begin;
    } else {
      merged.back().end = run.end;
    }
  }
  if (backwards) std::reverse(merged.begin(), merged.end());
  return merged;
}

void run_stages(std::span<const SplitStage> stages, std::string_view text, Regex::Matcher& matcher,
                const Emit& emit) {
  if (text.empty()) return;
  if (stages.empty()) return emit(text);
  const SplitStage& stage = stages.front();
  auto pass_on = [&](std::string_view piece) {
    run_stages(stages.subspan(1), piece, matcher, emit);
  };

  std::string with_space;
  if (stage.prefix_space && text.front() != ' ') {
    with_space.reserve(text.size() + 1);
    text = with_space.append(1, ' ').append(text);
  }
  if (!stage.pattern) return pass_on(text);

  auto piece = [&](const Run& run) { return text.substr(run.begin, run.end - run.begin); };
  if (stage.behavior == SplitBehavior::kIsolated) {
    for_each_run(*stage.pattern, text, matcher, [&](const Run& run) { pass_on(piece(run)); });
    return;
  }
  std::vector<Run> runs;
  for_each_run(*stage.pattern, text, matcher, [&](Run run) {
    run.matched ^= stage.invert;
    runs.push_back(run);
  });
  if (stage.behavior == SplitBehavior::kRemoved) {
    std::erase_if(runs, [](const Run& run) { return run.matched; });
  } else {
    runs = merge_runs(std::move(runs), stage.behavior);
  }
  for (const Run& run : runs) pass_on(piece(run));
}

}  // namespace

void split_text(const std::vector<SplitStage>& stages, std::string_view text,
                Regex::Matcher& matcher, const Emit& emit) {
  run_stages(stages, text, matcher, emit);
}

}  // namespace titan
