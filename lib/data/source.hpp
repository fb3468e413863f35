// What training.dataset and training.dataset_path stand for: files in a fixed order, all of one
// format.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace titan::data {

enum class Format {
  json_lines,  // .jsonl, .json: an object with a string "text" on each line; also .gz, .zst
  plain_text,  // .txt: each file is one document; also .gz, .zst
  llm_c,       // .bin that starts with llm.c's magic number
  megatron,    // .bin beside an .idx
  headerless,  // any other .bin: nothing but ids, as nanoGPT writes them
};

inline bool is_text(Format format) {
  return format == Format::json_lines || format == Format::plain_text;
}
const char* name_of(Format format);

struct SourceFile {
  std::filesystem::path path;
  int64_t size = 0;         // bytes
  int64_t modified_ns = 0;  // since the epoch

  bool operator==(const SourceFile&) const = default;
};

struct Source {
  std::string dataset;  // lower-cased dataset name
  std::string section;  // "training" or "validation": where the user set it, for messages
  Format format = Format::json_lines;
  std::vector<SourceFile> files;  // by name

  int64_t bytes() const;
  // "c4_test: 3 JSON Lines files, 1.2 MB"
  std::string describe() const;
};

// dataset: c4, c4_test or c4_validation in any case. dataset_path: a file, a folder (its own files,
// not those of folders inside it; other suffixes are skipped with a log line) or a glob pattern.
// Without a path c4_test is shipped_corpus and the others are refused. Throws InputError: unknown
// name, nothing there, an empty file, formats mixed.
Source find_source(const std::string& section, const std::string& dataset,
                   const std::optional<std::string>& dataset_path,
                   const std::filesystem::path& shipped_corpus);

// Size and time of a file as they are now. Throws InputError.
SourceFile look_at(const std::filesystem::path& path);

// A hash of the beginnings and ends of some of the files, spread over all of them. Throws
// InputError.
std::string hash_of_samples(const Source& source);

// "417 bytes", "1.2 MB": for messages.
std::string readable_bytes(int64_t bytes);

}  // namespace titan::data
