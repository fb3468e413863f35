// Text files in blocks of whole lines, and the lines in a block.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string_view>
#include <vector>

#include "lib/data/byte_stream.hpp"
#include "lib/data/source.hpp"

namespace titan::data {

// Longer documents are refused: what the readers below hold in memory stays bounded.
inline constexpr size_t kLongestDocument = size_t{1} << 30;

struct TextBlock {
  std::vector<char> bytes;  // `size` of text, then room that the JSON parser may read past the end
  size_t size = 0;
  int64_t first_line = 0;  // in the file, from 0
};

// Blocks of about block_bytes that end with a line; a plain text file is one block and one "line".
// A byte order mark at the start is dropped. Throws InputError: corrupt file, document too long.
class TextBlockReader {
 public:
  TextBlockReader(const std::filesystem::path& path, Format format, size_t block_bytes);

  bool next(TextBlock& block);  // false at the end
  int64_t file_bytes_read() const { return stream_->file_bytes_read(); }

 private:
  bool fill(TextBlock& block);  // false when the file ended before the block was full

  std::filesystem::path path_;
  bool by_lines_;
  size_t block_bytes_;
  std::unique_ptr<ByteStream> stream_;
  std::vector<char> carried_;  // the start of the line that did not fit into the last block
  int64_t lines_read_ = 0;
  bool at_start_ = true;
};

struct Line {
  int64_t number = 0;     // in the file, from 0
  std::string_view text;  // without its line end; kPadding bytes after it may be read
};

// Goes through the lines of a block that are not blank.
class BlockLines {
 public:
  BlockLines(const TextBlock& block, Format format);
  bool next(Line& line);  // false at the end

 private:
  std::string_view rest_;
  int64_t next_number_;
  bool by_lines_;
};

}  // namespace titan::data
