#include "lib/data/text_blocks.hpp"

#include <simdjson.h>

#include <algorithm>
#include <cstring>

#include "lib/base/error.hpp"

namespace titan::data {
namespace {

constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

}  // namespace

TextBlockReader::TextBlockReader(const std::filesystem::path& path, Format format,
                                 size_t block_bytes)
    : path_(path),
      by_lines_(format == Format::json_lines),
      block_bytes_(block_bytes),
      stream_(ByteStream::open(path)) {}

bool TextBlockReader::next(TextBlock& block) {
  block.first_line = lines_read_;
  block.size = carried_.size();
  block.bytes.resize(std::max(block_bytes_, carried_.size()) + simdjson::SIMDJSON_PADDING);
  std::copy(carried_.begin(), carried_.end(), block.bytes.begin());
  carried_.clear();

  while (fill(block)) {
    const char* begin = block.bytes.data();
    const void* line_end = by_lines_ ? ::memrchr(begin, '\n', block.size) : nullptr;
    if (line_end != nullptr) {
      size_t whole = static_cast<const char*>(line_end) + 1 - begin;
      carried_.assign(begin + whole, begin + block.size);
      block.size = whole;
      break;
    }
    if (block.size >= kLongestDocument) {
      throw InputError(concat(path_.string(), ":", lines_read_ + 1, ": a document of more than ",
                              readable_bytes(kLongestDocument), "; split it"));
    }
    block.bytes.resize(std::min(2 * block.size, kLongestDocument) + simdjson::SIMDJSON_PADDING);
  }
  lines_read_ += std::count(block.bytes.begin(), block.bytes.begin() + block.size, '\n');
  return block.size > 0;
}

bool TextBlockReader::fill(TextBlock& block) {
  size_t capacity = block.bytes.size() - simdjson::SIMDJSON_PADDING;
  while (block.size < capacity) {
    size_t count = stream_->read(block.bytes.data() + block.size, capacity - block.size);
    block.size += count;
    if (at_start_ && (block.size >= kByteOrderMark.size() || count == 0)) {
      at_start_ = false;
      if (std::string_view(block.bytes.data(), block.size).starts_with(kByteOrderMark)) {
        block.size -= kByteOrderMark.size();
        std::memmove(block.bytes.data(), block.bytes.data() + kByteOrderMark.size(), block.size);
      }
    }
    if (count == 0) return false;
  }
  return true;
}

BlockLines::BlockLines(const TextBlock& block, Format format)
    : rest_(block.bytes.data(), block.size),
      next_number_(block.first_line),
      by_lines_(format == Format::json_lines) {}

bool BlockLines::next(Line& line) {
  while (!rest_.empty()) {
    size_t length = by_lines_ ? std::min(rest_.find('\n'), rest_.size()) : rest_.size();
    line = {next_number_++, rest_.substr(0, length)};
    rest_.remove_prefix(std::min(length + 1, rest_.size()));
    if (line.text.find_first_not_of(" \t\r\n") != std::string_view::npos) return true;
  }
  return false;
}

}  // namespace titan::data
