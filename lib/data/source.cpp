#include "lib/data/source.hpp"

#include <glob.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>

#include "lib/base/error.hpp"
#include "lib/base/log.hpp"
#include "lib/data/fingerprint.hpp"
#include "lib/data/token_files.hpp"

namespace titan::data {
namespace {

namespace fs = std::filesystem;

constexpr const char* kSuffixes =
    ".jsonl, .json or .txt (each also with .gz or .zst), or .bin of token ids";

std::string lower_case(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

std::optional<Format> format_of(const fs::path& path) {
  fs::path name = path.filename();
  bool compressed = name.extension() == ".gz" || name.extension() == ".zst";
  if (compressed) name = name.stem();
  if (name.extension() == ".jsonl" || name.extension() == ".json") return Format::json_lines;
  if (name.extension() == ".txt") return Format::plain_text;
  if (name.extension() == ".bin" && !compressed) return token_file_format(path);
  return {};
}

std::vector<fs::path> files_of_folder(const fs::path& folder) {
  std::vector<fs::path> paths;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    bool hidden = entry.path().filename().string().starts_with('.');
    if (entry.is_regular_file() && !hidden) paths.push_back(entry.path());
  }
  return paths;
}

std::vector<fs::path> files_of_pattern(const std::string& pattern) {
  glob_t found{};
  std::vector<fs::path> paths;
  if (::glob(pattern.c_str(), GLOB_BRACE, nullptr, &found) == 0) {
    for (size_t i = 0; i < found.gl_pathc; ++i) {
      if (fs::is_regular_file(found.gl_pathv[i])) paths.emplace_back(found.gl_pathv[i]);
    }
  }
  ::globfree(&found);
  return paths;
}

// Drops what no reader understands (a README, an .idx) and says so.
void keep_known_suffixes(std::vector<fs::path>& paths, const std::string& where) {
  std::vector<fs::path> known;
  std::string skipped;
  for (const fs::path& path : paths) {
    if (format_of(path)) {
      known.push_back(path);
    } else if (path.extension() != ".idx") {
      skipped += (skipped.empty() ? "" : ", ") + path.filename().string();
    }
  }
  if (known.empty()) {
    throw InputError(concat(where, " holds no data file: expected names that end in ", kSuffixes,
                            skipped.empty() ? "" : "; found ", skipped));
  }
  if (!skipped.empty()) log::info(concat(where, ": not data, skipped: ", skipped));
  paths = std::move(known);
}

std::vector<fs::path> files_at(const std::string& path, const std::string& where) {
  std::vector<fs::path> paths;
  std::error_code none;
  if (fs::is_directory(path, none)) {
    paths = files_of_folder(path);
  } else if (fs::exists(path, none)) {
    if (!format_of(path)) {
      throw InputError(
          concat(where, " has a suffix that no reader understands: expected ", kSuffixes));
    }
    return {path};
  } else if (path.find_first_of("*?[{") != std::string::npos) {
    paths = files_of_pattern(path);
    if (paths.empty()) throw InputError(concat(where, " matches no file"));
  } else {
    throw InputError(concat(where, " does not exist: expected a file, a folder or a glob pattern"));
  }
  keep_known_suffixes(paths, where);
  std::sort(paths.begin(), paths.end());
  return paths;
}

void check_name(const std::string& section, const std::string& dataset) {
  if (dataset == "c4" || dataset == "c4_test" || dataset == "c4_validation") return;
  throw InputError(concat(section, ".dataset = \"", dataset,
                          "\" is not known: expected c4, c4_test or c4_validation; your own text "
                          "goes into ",
                          section, ".dataset_path"));
}

// Where the files lie when the user gives no path.
std::string own_path(const std::string& section, const std::string& dataset,
                     const fs::path& shipped_corpus) {
  if (dataset != "c4_test") {
    throw InputError(concat(section, ".dataset = \"", dataset,
                            "\" is not shipped and is not downloaded: set ", section,
                            ".dataset_path to its files, e.g. a folder with c4-",
                            dataset == "c4" ? "train" : "validation",
                            ".*.json.gz from allenai/c4 (\"en\"), or to any other text; c4_test "
                            "comes with the project"));
  }
  if (!fs::is_directory(shipped_corpus)) {
    throw InputError(concat(section, ".dataset = \"c4_test\": its text is not at ",
                            shipped_corpus.string(), "; set ", section, ".dataset_path"));
  }
  return shipped_corpus.string();
}

}  // namespace

const char* name_of(Format format) {
  switch (format) {
    case Format::json_lines:
      return "JSON Lines";
    case Format::plain_text:
      return "plain text";
    case Format::llm_c:
      return "llm.c token";
    case Format::megatron:
      return "Megatron token";
    case Format::headerless:
      return "headerless token";
  }
  return "?";
}

int64_t Source::bytes() const {
  int64_t sum = 0;
  for (const SourceFile& file : files) sum += file.size;
  return sum;
}

std::string Source::describe() const {
  std::string where =
      files.size() == 1 ? files.front().path.string() : files.front().path.parent_path().string();
  return concat(dataset, " from ", where, ": ", files.size(), " ", name_of(format),
                files.size() == 1 ? " file, " : " files, ", readable_bytes(bytes()));
}

Source find_source(const std::string& section, const std::string& dataset,
                   const std::optional<std::string>& dataset_path, const fs::path& shipped_corpus) {
  Source source;
  source.section = section;
  source.dataset = lower_case(dataset);
  check_name(section, source.dataset);
  std::string path =
      dataset_path ? *dataset_path : own_path(section, source.dataset, shipped_corpus);
  const std::string where = dataset_path ? concat(section, ".dataset_path = \"", path, "\"") : path;

  for (const fs::path& file : files_at(path, where)) {
    source.files.push_back(look_at(file));
    if (source.files.back().size == 0) throw InputError(concat(file.string(), " is empty"));
    Format format = *format_of(file);
    if (source.files.size() == 1) source.format = format;
    if (format != source.format) {
      throw InputError(concat(where, " mixes formats: ", source.files.front().path.string(),
                              " is a ", name_of(source.format), " file, ", file.string(), " a ",
                              name_of(format), " file; name one kind with a glob pattern, e.g. \"",
                              (fs::path(path) / "*.jsonl").string(), "\""));
    }
  }
  return source;
}

SourceFile look_at(const fs::path& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) {
    throw InputError(concat("cannot read ", path.string(), ": ", std::strerror(errno)));
  }
  return {path, status.st_size,
          status.st_mtim.tv_sec * int64_t{1'000'000'000} + status.st_mtim.tv_nsec};
}

std::string hash_of_samples(const Source& source) {
  constexpr size_t kMostFiles = 64;
  constexpr int64_t kSampleBytes = 4096;
  Fingerprint hash;
  const size_t stride = (source.files.size() + kMostFiles - 1) / kMostFiles;
  for (size_t i = 0; i < source.files.size(); i += stride) {
    const SourceFile& file = source.files[i];
    std::ifstream stream(file.path, std::ios::binary);
    for (const int64_t begin : {int64_t{0}, std::max<int64_t>(file.size - kSampleBytes, 0)}) {
      std::string sample(static_cast<size_t>(std::min(file.size, kSampleBytes)), '\0');
      stream.seekg(begin);
      if (!stream.read(sample.data(), static_cast<std::streamsize>(sample.size()))) {
        throw InputError(concat("cannot read ", file.path.string(), ": ", std::strerror(errno)));
      }
      hash.add(sample);
    }
  }
  return hash.hex();
}

std::string readable_bytes(int64_t bytes) {
  if (bytes < 1000) return concat(bytes, " bytes");
  const char* unit = "kB";
  double value = static_cast<double>(bytes) / 1e3;
  for (const char* larger : {"MB", "GB", "TB"}) {
    if (value < 1000) break;
    value /= 1e3;
    unit = larger;
  }
  char text[32];
  std::snprintf(text, sizeof text, "%.1f %s", value, unit);
  return text;
}

}  // namespace titan::data
