// Text tokenised once into a file that any rank of any later run reads by index.
//
// File: a 128-byte header (token_cache.cpp), then the ids, u16 when the tokenizer's vocabulary fits
// and u32 otherwise. Its name ends in a hash of what it was made from: path, size and time of each
// source file, the tokenizer's fingerprint, the version of this format. It is complete or absent:
// written beside, flushed, renamed. A lock file lets one process build while the others wait.
#pragma once

#include <filesystem>

#include "lib/data/source.hpp"
#include "lib/data/token_files.hpp"
#include "lib/data/tokenizer.hpp"

namespace titan::data {

struct CachedTokens {
  TokenRun run;
  int64_t documents = 0;
  int64_t malformed = 0;  // documents that were skipped when the cache was built
};

// The folder that training.token_cache names; by default titan-train under $XDG_CACHE_HOME or
// ~/.cache. Throws InputError when there is no home.
std::filesystem::path token_cache_folder(const std::filesystem::path& configured);

// Finds the cache of the source, or builds it (progress in the log, every processor core at work,
// the same tokens whatever their number). Throws InputError: malformed source, folder that cannot
// be written, disk full.
CachedTokens open_token_cache(const Source& source, const Tokenizer& tokenizer,
                              const std::filesystem::path& folder);

}  // namespace titan::data
