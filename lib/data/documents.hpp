// From a line of a text source to the tokens of a document, and an account of the lines that are
// none.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/data/source.hpp"
#include "lib/data/tokenizer.hpp"

namespace titan::data {

// Gets the text out of a line. Keeps its buffers: one per thread and many lines.
class DocumentParser {
 public:
  explicit DocumentParser(Format format);
  ~DocumentParser();

  // The document's text, UTF-8, valid until the next call; nothing when the line is malformed. JSON
  // Lines: the string "text" of the object, and 64 bytes after the line must be readable. Plain
  // text: the line itself.
  std::optional<std::string_view> parse(std::string_view line);

  // Why the last line was malformed.
  const std::string& reason() const { return reason_; }

 private:
  std::optional<std::string_view> parse_json(std::string_view line);
  std::optional<std::string_view> check_utf8(std::string_view text);

  struct Json;
  Format format_;
  std::unique_ptr<Json> json_;
  std::string reason_;
};

// Appends prefix (BOS), ids and suffix (EOS).
void append_document(const Tokenizer& tokenizer, std::string_view text, std::vector<int32_t>& out);

// What was found in some lines of one file.
struct LineCounts {
  struct Malformed {
    int64_t line;  // in the file, from 0
    std::string reason;
  };
  int64_t documents = 0;
  int64_t malformed = 0;
  std::vector<Malformed> examples;  // the first few

  void add_malformed(int64_t line, std::string reason);
};

// Collects the counts of a source in file order, names the first malformed lines in the log, counts
// the rest, and refuses files that hold nothing else.
class LineReport {
 public:
  void add(const std::filesystem::path& path, const LineCounts& counts);

  // After a file's last line. `whole`: all of it was looked at. Throws InputError when it was
  // malformed from first to last line, or held no line.
  void end_file(const std::filesystem::path& path, bool whole);

  int64_t documents() const { return documents_; }
  int64_t malformed() const { return malformed_; }

 private:
  LineCounts file_;
  int64_t documents_ = 0, malformed_ = 0;
  int64_t named_ = 0;
};

}  // namespace titan::data
