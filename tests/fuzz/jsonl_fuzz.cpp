// libFuzzer: any bytes as a text source (the first byte picks plain, .gz or .zst) end in documents
// of valid UTF-8, malformed lines with a reason, or an InputError; and blocks of any size give the
// same.
#include <simdjson.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "lib/base/error.hpp"
#include "lib/data/documents.hpp"
#include "lib/data/text_blocks.hpp"

namespace {

using namespace titan::data;

// "line:text" or "line!reason" of every line, then what ended the file.
std::vector<std::string> read_lines(const std::filesystem::path& path, size_t block_bytes) {
  std::vector<std::string> found;
  try {
    TextBlockReader reader(path, Format::json_lines, block_bytes);
    DocumentParser parser(Format::json_lines);
    for (TextBlock block; reader.next(block);) {
      BlockLines lines(block, Format::json_lines);
      for (Line line; lines.next(line);) {
        auto text = parser.parse(line.text);
        if (text && !simdjson::validate_utf8(text->data(), text->size())) __builtin_trap();
        if (!text && parser.reason().empty()) __builtin_trap();
        found.push_back(text ? titan::concat(line.number, ":", *text)
                             : titan::concat(line.number, "!", parser.reason()));
      }
    }
  } catch (const titan::InputError& error) {
    // How much was read before the break depends on the block size: only the break itself counts.
    // Of a frame with both too large a window and senseless blocks zstd finds, by how much it is
    // asked for at once, the one or the other.
    return {path.extension() == ".zst" ? "refused" : error.what()};
  }
  return found;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  static const std::filesystem::path folder = [] {
    auto path = std::filesystem::temp_directory_path() / titan::concat("jsonl_fuzz.", ::getpid());
    std::filesystem::create_directories(path);
    return path;
  }();
  constexpr const char* kNames[] = {"a.jsonl", "a.jsonl.gz", "a.jsonl.zst"};
  std::filesystem::path path = folder / kNames[data[0] % 3];
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(data) + 1, static_cast<std::streamsize>(size) - 1);
  if (read_lines(path, 1 << 16) != read_lines(path, 61)) __builtin_trap();
  return 0;
}
