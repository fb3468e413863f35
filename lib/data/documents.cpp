#include "lib/data/documents.hpp"

#include <simdjson.h>

#include <algorithm>

#include "lib/base/error.hpp"
#include "lib/base/log.hpp"

namespace titan::data {
namespace {

constexpr size_t kLinesNamed = 5;

}  // namespace

struct DocumentParser::Json {
  simdjson::dom::parser parser;
};

DocumentParser::DocumentParser(Format format) : format_(format), json_(std::make_unique<Json>()) {}
DocumentParser::~DocumentParser() = default;

std::optional<std::string_view> DocumentParser::parse(std::string_view line) {
  return format_ == Format::json_lines ? parse_json(line) : check_utf8(line);
}

// The whole line is validated, not just the way to "text": a line with a broken tail is malformed.
std::optional<std::string_view> DocumentParser::parse_json(std::string_view line) {
  simdjson::dom::element element;
  auto error =
      json_->parser.parse(line.data(), line.size(), /*realloc_if_needed=*/false).get(element);
  if (error) {
    reason_ = concat("not JSON (", simdjson::error_message(error), ")");
    return {};
  }
  simdjson::dom::object object;
  if (element.get(object)) {
    reason_ = "not a JSON object";
    return {};
  }
  simdjson::dom::element field;
  if (object["text"].get(field)) {
    reason_ = "no field \"text\"";
    return {};
  }
  std::string_view text;
  if (field.get(text)) {
    reason_ = "\"text\" is not a string";
    return {};
  }
  return text;
}

std::optional<std::string_view> DocumentParser::check_utf8(std::string_view text) {
  if (simdjson::validate_utf8(text.data(), text.size())) return text;
  int64_t number = 1;
  for (std::string_view rest = text; !rest.empty(); ++number) {
    size_t length = std::min(rest.find('\n'), rest.size() - 1) + 1;
    if (!simdjson::validate_utf8(rest.data(), length)) break;
    rest.remove_prefix(length);
  }
  reason_ = concat("line ", number, " is not valid UTF-8");
  return {};
}

void append_document(const Tokenizer& tokenizer, std::string_view text, std::vector<int32_t>& out) {
  auto prefix = tokenizer.document_prefix(), suffix = tokenizer.document_suffix();
  out.insert(out.end(), prefix.begin(), prefix.end());
  tokenizer.encode(text, out);
  out.insert(out.end(), suffix.begin(), suffix.end());
}

void LineCounts::add_malformed(int64_t line, std::string reason) {
  ++malformed;
  if (examples.size() < kLinesNamed) examples.push_back({line, std::move(reason)});
}

void LineReport::add(const std::filesystem::path& path, const LineCounts& counts) {
  for (const LineCounts::Malformed& example : counts.examples) {
    if (named_ < static_cast<int64_t>(kLinesNamed)) {
      log::warning(
          concat(path.string(), ":", example.line + 1, ": ", example.reason, "; document skipped"));
      ++named_;
    }
    if (file_.examples.size() < kLinesNamed) file_.examples.push_back(example);
  }
  file_.documents += counts.documents;
  file_.malformed += counts.malformed;
}

void LineReport::end_file(const std::filesystem::path& path, bool whole) {
  LineCounts counts = std::exchange(file_, {});
  if (whole && counts.documents == 0) {
    if (counts.malformed == 0) throw InputError(concat(path.string(), " holds no document"));
    throw InputError(
        concat(path.string(), ":", counts.examples.front().line + 1, ": ",
               counts.examples.front().reason, ", and ",
               counts.malformed == 1 ? "nothing else is in the file"
                                     : "no other line of the file is a document",
               "; expected an object with a string \"text\" on each line of JSON Lines, "
               "UTF-8 in plain text"));
  }
  if (counts.malformed > 0) {
    log::warning(concat(path.string(), ": ", counts.malformed, " of ",
                        counts.documents + counts.malformed, " documents malformed and skipped"));
  }
  documents_ += counts.documents;
  malformed_ += counts.malformed;
}

}  // namespace titan::data
